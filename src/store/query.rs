//! Messages by key, found through the index.

use super::Store;
use crate::base::limits::QUERY_BYTES_MAX;
use crate::base::slice::Slice;
use crate::message::property;
use crate::message::record::RecordView;

/// What a query found.
pub struct QueryResult {
    /// One record each, in the order of the log.
    pub slices: Vec<Slice>,
    /// Store time of the newest message in the index; 0 when nothing was found.
    pub last_update_timestamp: i64,
    /// Its physical offset.
    pub last_update_offset: i64,
}

impl Store {
    /// At most `max` messages of the topic with this key, or unique key, stored from `begin` to
    /// `end` (ms).
    pub fn query(&self, topic: &str, key: &str, max: i32, begin: i64, end: i64) -> QueryResult {
        let max = max.min(self.config.get().store.max_msgs_num_batch);
        let max = usize::try_from(max).unwrap_or(0);
        let hits = self.index.query(topic, key, max, begin, end);
        let mut bytes = 0;
        let records = hits.offsets.iter().filter_map(|offset| self.record_at(*offset));
        // Not those of another key with the same hash, nor what a damaged entry names.
        let records = records.filter(|record| has_key(record, topic, key));
        let slices = records.take_while(|record| {
            bytes += record.len();
            bytes == record.len() || bytes <= QUERY_BYTES_MAX
        });
        let slices: Vec<Slice> = slices.collect();
        let (last_update_timestamp, last_update_offset) = match slices.is_empty() {
            true => (0, 0),
            false => (hits.last_timestamp, hits.last_physical),
        };
        QueryResult { slices, last_update_timestamp, last_update_offset }
    }
}

fn has_key(record: &Slice, topic: &str, key: &str) -> bool {
    let Some(record) = RecordView::new(record.as_bytes()) else { return false };
    let property = |name| property::get(record.properties(), name);
    let keys = property(property::KEYS).unwrap_or_default();
    record.topic() == topic
        && (property(property::UNIQ_KEY) == Some(key) || keys.split(' ').any(|one| one == key))
}
