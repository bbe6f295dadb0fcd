//! Counters and states of the broker: GET_BROKER_RUNTIME_INFO (28), VIEW_BROKER_STATS_DATA (315).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{Error, Result, clock};
use crate::broker::Broker;
use crate::broker::stats::{View, Window};
use crate::config::BrokerConfig;
use crate::dispatch::Outcome;
use crate::message::record::RecordView;
use crate::net::Request;
use crate::protocol::body::cluster::KvTable;
use crate::protocol::body::stats::{BrokerStatsData, StatsItem};
use crate::protocol::code::response;
use crate::protocol::command::VERSION;
use crate::protocol::headers::admin::ViewBrokerStatsData;
use crate::store::Store;
use crate::sys;

type Table = BTreeMap<String, String>;

/// GET_BROKER_RUNTIME_INFO.
pub fn info(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let config = broker.config.get();
    let mut table = Table::new();
    for (key, text) in broker.store.stats().runtime_info() {
        table.insert(key.to_owned(), text);
    }
    add_identity(broker, &config, &mut table);
    add_totals(broker, &mut table);
    add_pools(broker, &mut table);
    add_store(broker, &config, &mut table);
    Outcome::body(request, KvTable { table }.to_vec())
}

fn set(table: &mut Table, key: impl Into<String>, value: impl ToString) {
    table.insert(key.into(), value.to_string());
}

fn add_identity(broker: &Broker, config: &BrokerConfig, table: &mut Table) {
    set(table, "brokerVersionDesc", "V4_9_8");
    set(table, "brokerVersion", VERSION);
    set(table, "bootTimestamp", broker.boot_ms);
    set(table, "runtime", run_time(clock::now_ms() - broker.boot_ms));
    let accept = config.start_accept_send_request_time_stamp;
    set(table, "startAcceptSendRequestTimeStamp", accept);
    let pool = broker.store.transient_pool();
    // What RocketMQ says without a pool.
    let free = pool.map_or(i32::MAX as usize, |pool| pool.free());
    set(table, "remainTransientStoreBufferNumbs", free);
    if let Some(pool) = pool {
        set(table, "remainHowManyDataToCommit", size_text(pool.uncommitted() as u64));
    }
}

fn add_totals(broker: &Broker, table: &mut Table) {
    let days = broker.stats.days();
    set(table, "msgPutTotalYesterdayMorning", days.yesterday_morning.0);
    set(table, "msgPutTotalTodayMorning", days.today_morning.0);
    set(table, "msgPutTotalTodayNow", broker.stats.total_put());
    set(table, "msgGetTotalYesterdayMorning", days.yesterday_morning.1);
    set(table, "msgGetTotalTodayMorning", days.today_morning.1);
    set(table, "msgGetTotalTodayNow", broker.stats.total_got());
}

fn add_pools(broker: &Broker, table: &mut Table) {
    for name in ["send", "pull", "query"] {
        let Some(state) = broker.pool(name) else { continue };
        set(table, format!("{name}ThreadPoolQueueSize"), state.queued);
        set(table, format!("{name}ThreadPoolQueueCapacity"), state.capacity);
        set(table, format!("{name}ThreadPoolQueueHeadWaitTimeMills"), state.head_wait_ms);
    }
    if let Some(state) = broker.pool("endTransaction") {
        set(table, "EndTransactionQueueSize", state.queued);
        set(table, "EndTransactionThreadPoolQueueCapacity", state.capacity);
    }
}

/// The file system that a directory lies on, or will: the first file of the log, and its directory
/// with it, may still be in the making.
fn space_for(dir: &Path) -> Option<sys::file::Space> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut all = dir.ancestors().map(sys::file::space);
    all.find(|space| !space.as_ref().is_err_and(missing))?.ok()
}

fn add_store(broker: &Broker, config: &BrokerConfig, table: &mut Table) {
    let store = &broker.store;
    let [log, queue, _] = store.disk_ratios();
    let dirs = config.store.commit_log_dirs();
    // As Java prints a double, -1.0 of a disk that is unknown.
    set(table, "commitLogDiskRatio", format!("{log:?}"));
    for dir in &dirs {
        let used =
            sys::file::space(dir).map_or(log, |space| f64::from(space.used_percent()) / 100.0);
        let ratio = if dirs.len() > 1 { used } else { log };
        set(table, format!("commitLogDiskRatio_{}", dir.display()), format!("{ratio:?}"));
    }
    set(table, "consumeQueueDiskRatio", format!("{queue:?}"));
    if let Some(space) = dirs.first().and_then(|dir| space_for(dir)) {
        let (total, free) = (size_text(space.total), size_text(space.available));
        set(table, "commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
    }
    let trouble = store.trouble();
    if !trouble.is_empty() {
        set(table, "putMessageRefusedReason", trouble.join("; "));
    }
    set(table, "commitLogMinOffset", store.min_physical_offset());
    set(table, "commitLogMaxOffset", store.max_physical_offset());
    set(table, "dispatchBehindBytes", store.dispatch_behind_bytes());
    set(table, "pageCacheLockTimeMills", store.lock_held_ms());
    set(table, "earliestMessageTimeStamp", earliest_time(store));
    // Not RocketMQ's.
    let lost = store.stats().unconsumed_deleted_bytes.load(Ordering::Relaxed);
    set(table, "unconsumedDeletedBytes", lost);
    let unflushed = store.max_physical_offset() - store.flushed_offset();
    set(table, "remainHowManyDataToFlush", size_text(unflushed.max(0) as u64));
    for (level, offset, end) in broker.delay_progress() {
        set(table, format!("scheduleMessageOffset_{level}"), format!("{offset},{end}"));
    }
}

/// Store time of the oldest record; −1 of an empty log.
fn earliest_time(store: &Store) -> i64 {
    let record = store.record_at(store.min_physical_offset());
    let view = record.as_ref().and_then(|record| RecordView::new(record.as_bytes()));
    view.map_or(-1, |record| record.store_timestamp())
}

/// `[ d days, h hours, m minutes, s seconds ]`.
fn run_time(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]")
}

/// Below 1024 `N B`, else one decimal and a binary unit.
fn size_text(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter();
    let mut unit = units.next();
    while size >= 1024.0
        && let Some(larger) = units.next()
    {
        size /= 1024.0;
        unit = Some(larger);
    }
    format!("{size:.1} {}", unit.unwrap_or(&""))
}

/// VIEW_BROKER_STATS_DATA.
pub fn statistic(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = ViewBrokerStatsData::decode(&request.command)?;
    let Some(view) = broker.stats.view(header.stats_name, header.stats_key) else {
        let remark = format!("The stats <{}> <{}> not exist", header.stats_name, header.stats_key);
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    };
    let View { minute, hour, day } = view;
    let item = |window: Window| StatsItem {
        sum: i64::try_from(window.sum).unwrap_or(i64::MAX),
        tps: window.tps,
        avgpt: window.average,
    };
    let stats = BrokerStatsData {
        stats_minute: item(minute),
        stats_hour: item(hour),
        stats_day: item(day),
    };
    Outcome::body(request, stats.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_made_yet_has_space_already() {
        let dir = tempfile::tempdir().unwrap();
        assert!(space_for(&dir.path().join("store/commitlog")).is_some_and(|it| it.total > 0));
    }

    #[test]
    fn texts_have_java_s_form() {
        assert_eq!(run_time(90_061_000), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!(size_text(1023), "1023 B");
        assert_eq!(size_text(1536), "1.5 KiB");
        assert_eq!(size_text(3 << 30), "3.0 GiB");
    }
}
