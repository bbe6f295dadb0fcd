//! Sharing the queues of a topic among the members of a group, as every RocketMQ client computes
//! it.

use crate::protocol::body::MessageQueue;

/// The share of `own_id` by RocketMQ's `AVG` strategy: consecutive queues, the first members one
/// more when it does not divide. Queues and members may come in any order; not a member: nothing.
pub fn average(queues: &[MessageQueue], members: &[String], own_id: &str) -> Vec<MessageQueue> {
    let mut members: Vec<&str> = members.iter().map(String::as_str).collect();
    members.sort_unstable();
    let mut queues = queues.to_vec();
    queues.sort_unstable();
    let Some(index) = members.iter().position(|id| *id == own_id) else { return Vec::new() };
    let (count, rest) = (queues.len() / members.len(), queues.len() % members.len());
    let start = index * count + index.min(rest);
    let end = start + count + usize::from(index < rest);
    queues[start..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        let queue = |id| MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: id };
        (0..count).rev().map(queue).collect()
    }

    fn shares(count: i32, members: usize) -> Vec<Vec<i32>> {
        let ids: Vec<String> = (0..members).rev().map(|n| format!("c{n}")).collect();
        let share = |n| average(&queues(count), &ids, &format!("c{n}"));
        let ids_of = |share: Vec<MessageQueue>| share.iter().map(|q| q.queue_id).collect();
        (0..members).map(|n| ids_of(share(n))).collect()
    }

    #[test]
    fn shares_are_consecutive_and_the_first_ones_larger() {
        assert_eq!(shares(8, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(shares(4, 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(shares(2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(shares(0, 1), [Vec::<i32>::new()]);
    }

    #[test]
    fn strangers_get_nothing() {
        assert!(average(&queues(4), &["c0".into()], "c1").is_empty());
        assert!(average(&queues(4), &[], "c1").is_empty());
    }
}
