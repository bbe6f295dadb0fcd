//! Looking ahead: what some requests of one batch need is loaded for all of them at once. One after
//! the other each would wait for memory several times, where a broker has many topics.

use super::topics::Topics;
use crate::net::Request;
use crate::protocol::Command;

/// Has the processor load what these sends (or `gets`: pulls) will need, unless the first two are
/// of one topic: most of them are then, and it is in the caches. So these cost next to nothing.
pub fn look(topics: &Topics, requests: &mut dyn Iterator<Item = &Request>, gets: bool) {
    let mut places = requests.filter_map(|request| place(&request.command));
    let (Some(first), Some(second)) = (places.next(), places.next()) else { return };
    if first.0 != second.0 {
        let places: Vec<_> = [first, second].into_iter().chain(places).collect();
        topics.prefetch(&places, gets);
    }
}

/// Topic and queue id of a send, also with short names, or of a pull.
fn place(command: &Command) -> Option<(&str, i32)> {
    let (mut topic, mut queue_id) = (None, None);
    for (name, value) in command.fields.as_ref()?.iter() {
        match name {
            "topic" | "b" => topic = Some(value),
            "queueId" | "e" => queue_id = value.parse().ok(),
            _ => continue,
        }
        if let (Some(topic), Some(queue_id)) = (topic, queue_id) {
            return Some((topic, queue_id));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::code::request::{PULL_MESSAGE, SEND_MESSAGE_V2};
    use crate::protocol::headers::pull::PullMessage;

    #[test]
    fn topic_and_queue_are_found_in_either_form() {
        let mut send = Command::request(SEND_MESSAGE_V2);
        let fields = send.fields_mut();
        [("e", "3"), ("a", "P"), ("b", "T"), ("c", "TBW102"), ("d", "4")]
            .iter()
            .for_each(|(name, value)| fields.push(name, value));
        assert_eq!(place(&send), Some(("T", 3)));
        let mut pull = Command::request(PULL_MESSAGE);
        let header = PullMessage {
            consumer_group: "g",
            topic: "U",
            queue_id: 1,
            queue_offset: 0,
            max_msg_nums: 1,
            sys_flag: 0,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: None,
            sub_version: 0,
            expression_type: None,
            broker_name: None,
        };
        header.encode(&mut pull);
        assert_eq!(place(&pull), Some(("U", 1)));
        assert_eq!(place(&Command::request(PULL_MESSAGE)), None);
    }
}
