//! What became of a message in the groups that consume its topic.

use crate::base::{Error, Result};
use crate::client::{Admin, MessageExt};
use crate::protocol::body::client::ConsumerConnection;
use crate::protocol::body::heartbeat::ConsumeType;
use crate::protocol::code::response;

/// One group's part, as text.
pub struct Track {
    group: String,
    /// RocketMQ's name of it.
    kind: &'static str,
    /// Why it could not be learned.
    trouble: Option<String>,
}

impl std::fmt::Display for Track {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trouble = super::text::or_null(self.trouble.as_deref());
        let Track { group, kind, .. } = self;
        write!(f, "MessageTrack [consumerGroup={group}, trackType={kind}, exceptionDesc={trouble}]")
    }
}

/// The part of every group, by name.
pub fn tracks(admin: &Admin, message: &MessageExt) -> Result<Vec<Track>> {
    let groups = admin.consumers_of(message.topic())?;
    Ok(groups.into_iter().map(|group| track(admin, message, group)).collect())
}

fn track(admin: &Admin, message: &MessageExt, group: String) -> Track {
    match kind(admin, message, &group) {
        Ok(kind) => Track { group, kind, trouble: None },
        Err(Error::Refused { code, remark }) => {
            let offline = code == response::CONSUMER_NOT_ONLINE;
            let kind = if offline { "NOT_ONLINE" } else { "UNKNOWN" };
            Track { group, kind, trouble: Some(format!("CODE:{code} DESC:{remark}")) }
        }
        Err(error) => Track { group, kind: "UNKNOWN", trouble: Some(error.to_string()) },
    }
}

fn kind(admin: &Admin, message: &MessageExt, group: &str) -> Result<&'static str> {
    let consumers = admin.consumer_connection(group)?;
    Ok(match consumers.consume_type {
        Some(ConsumeType::Actively) => "PULL",
        Some(ConsumeType::Passively) if !is_behind(admin, message, group)? => "NOT_CONSUME_YET",
        Some(ConsumeType::Passively) if is_wanted(&consumers, message) => "CONSUMED",
        Some(ConsumeType::Passively) => "CONSUMED_BUT_FILTERED",
        Some(ConsumeType::Pop) | None => "UNKNOWN",
    })
}

/// Whether the message lies before the group's place in its queue.
fn is_behind(admin: &Admin, message: &MessageExt, group: &str) -> Result<bool> {
    let stats = admin.consume_stats(group)?;
    let brokers = admin.cluster_info()?.broker_addr_table;
    let stored_at = message.message.store_host.to_string();
    Ok(stats.offset_table.iter().any(|(queue, offsets)| {
        let master = brokers.get(&queue.broker_name).and_then(|b| b.broker_addrs.get(&0));
        queue.topic == message.topic()
            && queue.queue_id == message.message.queue_id
            && master == Some(&stored_at)
            && offsets.consumer_offset > message.queue_offset()
    }))
}

/// Whether the subscription of the group selects the message by its tag.
fn is_wanted(consumers: &ConsumerConnection, message: &MessageExt) -> bool {
    let Some(subscription) = consumers.subscription_table.get(message.topic()) else { return true };
    let tags = &subscription.tags_set;
    tags.is_empty() || tags.iter().any(|tag| tag == "*" || Some(tag.as_str()) == message.tags())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_reads_as_in_java() {
        let track = Track { group: "g".into(), kind: "PULL", trouble: None };
        let text = "MessageTrack [consumerGroup=g, trackType=PULL, exceptionDesc=null]";
        assert_eq!(track.to_string(), text);
    }
}
