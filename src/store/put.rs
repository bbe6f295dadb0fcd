//! Putting messages: what refuses them, encoding, append, and what the answer waits for.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Store;
use super::commit_log::Appended;
use super::consume_queue::Queue;
use super::durable::{Done, GroupHook, WaitFor};
use super::multi;
use super::queues::QueuesAtHand;
use super::running::Refusal;
use super::stats::Cause;
use super::status::{Busy, PutStatus};
use crate::base::limits::PROPERTIES_BYTES_MAX;
use crate::config::{BrokerConfig, BrokerRole, FlushDiskType};
use crate::message::batch::Messages;
use crate::message::property::{self, INNER_MULTI_QUEUE_OFFSET};
use crate::message::record::{self, Encoded, Unstorable};
use crate::message::{MessageRef, flags};

/// A lock "held" for longer than this is a clock that jumped.
const LOCK_HELD_MS_MAX: i64 = 10_000_000;

/// What became of a put. The offsets count only when the status says that it is stored.
#[derive(Clone, Debug)]
pub struct Put {
    pub status: PutStatus,
    /// Offset of the first record in the log.
    pub physical_offset: i64,
    /// Offset of the first message in its queue.
    pub queue_offset: i64,
    /// Bytes of the record, or of all records of a batch.
    pub size: i32,
    /// Store time in ms.
    pub store_timestamp: i64,
    /// Offset of each record in the log; empty for a single message.
    pub batch_offsets: Vec<i64>,
    /// What a message whose WAIT property allows must wait for (`Store::when_durable`).
    pub wait: Option<WaitFor>,
    /// What replication says to a message whose WAIT property allows.
    pub replica: PutStatus,
}

impl Put {
    /// For a message that does not want to wait: stored is enough.
    pub fn without_waiting(self) -> Put {
        Put { wait: None, replica: PutStatus::PutOk, ..self }
    }

    /// The status to answer once the flush has ended in `flush`: a replica that is missing counts
    /// more than a flush that is late.
    pub fn status_after(&self, flush: PutStatus) -> PutStatus {
        match (self.status, self.replica) {
            (PutStatus::PutOk, PutStatus::PutOk) => flush,
            (PutStatus::PutOk, replica) => replica,
            (refused, _) => refused,
        }
    }

    fn refused(status: PutStatus) -> Put {
        Put {
            status,
            physical_offset: 0,
            queue_offset: 0,
            size: 0,
            store_timestamp: 0,
            batch_offsets: Vec::new(),
            wait: None,
            replica: PutStatus::PutOk,
        }
    }
}

/// Keeps the buffer that records are encoded into from put to put; one that a large message made
/// large is given back.
const SCRATCH_BYTES_KEPT: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Store {
    /// Stores one message.
    pub fn put(&self, message: &MessageRef<'_>) -> Put {
        let put = self.put_undispatched(&self.config.get(), message, None);
        self.reput.appended();
        put
    }

    /// Stores one message under the configuration that its caller has at hand, and in one of the
    /// queues if he has them. Its dispatch waits until he calls `dispatch_waited`.
    pub fn put_undispatched(
        &self,
        config: &BrokerConfig,
        message: &MessageRef<'_>,
        queues: Option<&QueuesAtHand>,
    ) -> Put {
        // The offsets of a message that is stored once more, or what a client made up.
        if config.store.enable_multi_dispatch
            && property::get(message.properties, INNER_MULTI_QUEUE_OFFSET).is_some()
        {
            let mut properties = message.properties.to_owned();
            property::remove(&mut properties, INNER_MULTI_QUEUE_OFFSET);
            let message = MessageRef { properties: &properties, ..*message };
            return self.put_single(config, &message, queues);
        }
        self.put_single(config, message, queues)
    }

    fn put_single(
        &self,
        config: &BrokerConfig,
        message: &MessageRef<'_>,
        queues: Option<&QueuesAtHand>,
    ) -> Put {
        let encode = |limit, out: &mut Vec<u8>| {
            let body_at = record::encode_around_body(message, limit, out)?;
            Ok((message.body, body_at))
        };
        self.put_with(config, message, queues, true, encode)
    }

    /// After some puts, and their answers: has their messages dispatched, by this thread if
    /// somebody waits for messages.
    pub fn dispatch_waited(&self) {
        self.reput.dispatch_waited();
    }

    /// Stores the messages of a batch: `message.body` is the batch body, `message.properties` are
    /// added to those of each message. All or none. Their dispatch waits for `dispatch_waited`. A
    /// batch goes to no further queues.
    pub fn put_batch(&self, message: &MessageRef<'_>) -> Put {
        let mut offsets = Vec::new();
        let config = self.config.get();
        let mut put = self.put_with(&config, message, None, false, |limit, out| {
            if config.store.enable_multi_dispatch && claims_offsets(message.body) {
                return Err(Unstorable::MessageIllegal);
            }
            record::encode_batch(message, limit, out)?;
            offsets = record_offsets(out);
            Ok((&b""[..], out.len()))
        });
        if put.status == PutStatus::PutOk {
            offsets.iter_mut().for_each(|offset| *offset += put.physical_offset);
            put.batch_offsets = offsets;
        }
        put
    }

    /// `encode` fills a buffer with records, and says which body is to be put where in it.
    fn put_with<'a>(
        &self,
        config: &BrokerConfig,
        message: &MessageRef<'a>,
        at_hand: Option<&QueuesAtHand>,
        single: bool,
        encode: impl FnOnce(usize, &mut Vec<u8>) -> Result<(&'a [u8], usize), Unstorable>,
    ) -> Put {
        let began = Instant::now();
        let checked = self.check(config);
        let result = checked.and_then(|()| {
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                let limit = config.store.max_message_size.max(0) as usize;
                let (body, body_at) = encode(limit, scratch)?;
                let others = match single && config.store.enable_multi_dispatch {
                    true => multi::queues(&config.store, message, &self.queues)?,
                    false => Vec::new(),
                };
                let bytes = multi::offsets_bytes_max(&others);
                if bytes > 0 && message.properties.len() + bytes > PROPERTIES_BYTES_MAX {
                    return Err(PutStatus::PropertiesSizeExceeded);
                }
                let records = Encoded { bytes: scratch, body, body_at };
                let appended = self.append(message, records, at_hand, &others);
                scratch.shrink_to(SCRATCH_BYTES_KEPT);
                appended
            })
        });
        match result {
            Ok(appended) => {
                self.stats.put(appended.count, appended.size.into(), began.elapsed());
                stored(config, appended, began)
            }
            Err(status) => {
                self.count_refused(status, checked.is_ok());
                Put::refused(status)
            }
        }
    }

    /// What refuses any message.
    fn check(&self, config: &BrokerConfig) -> Result<(), PutStatus> {
        if self.stopping.load(Ordering::Acquire)
            || config.store.broker_role == BrokerRole::Slave
            || !self.flags.is_writeable()
        {
            return Err(PutStatus::ServiceNotAvailable);
        }
        self.busy().map_or(Ok(()), |busy| Err(PutStatus::OsPageCacheBusy(busy)))
    }

    /// Appends encoded records of one queue, a single one also for other queues.
    fn append(
        &self,
        message: &MessageRef<'_>,
        records: Encoded<'_>,
        at_hand: Option<&QueuesAtHand>,
        others: &[Arc<Queue>],
    ) -> Result<Appended, PutStatus> {
        let kept = at_hand.and_then(|queues| queues.get(message.queue_id));
        let found;
        let queue = match (flags::transaction(message.sys_flag), kept) {
            (flags::TRANSACTION_PREPARED | flags::TRANSACTION_ROLLBACK, _) => {
                return self.log.append(records, None, others);
            }
            (_, Some(queue)) => queue,
            _ => {
                let made = self.queues.get_or_create(message.topic, message.queue_id);
                found = made.map_err(|_| PutStatus::MessageIllegal)?;
                at_hand.iter().for_each(|queues| queues.keep(&found));
                &found
            }
        };
        let appended = self.log.append(records, Some(&queue.next_offset), others)?;
        self.queues.handed.give(appended.physical_offset, queue);
        Ok(appended)
    }

    /// Calls `done` when `wait`, given by a put, is over: on the flush thread, or here at once.
    pub fn when_durable(&self, wait: WaitFor, done: Done) {
        self.durable.when(wait, done);
    }

    /// Waits until all puts are answered, or until `deadline`.
    pub fn settle(&self, deadline: Instant) {
        if !self.durable.settle(deadline) {
            log::error!(target: "store", "the disk does not answer, nor do sends that wait for it");
        }
    }

    /// Sets what wraps the completions of one group, before `start`: `hook` runs what it is given.
    pub fn set_group_hook(&self, hook: GroupHook) {
        self.durable.set_group_hook(hook);
    }

    /// What holds the log for too long, if anything does.
    pub fn busy(&self) -> Option<Busy> {
        let held = self.log.lock_held_ms();
        let busy = held != 0
            && held > self.config.get().store.os_page_cache_busy_time_out_mills
            && held < LOCK_HELD_MS_MAX;
        busy.then(|| self.log.doing())
    }

    /// The same, of a put that is refused for it before it gets here.
    pub fn refused_as_busy(&self) -> Option<Busy> {
        let behind = || self.log.pool().is_some_and(|pool| pool.is_behind());
        let busy = self.busy().or_else(|| behind().then_some(Busy::StorePool));
        busy.inspect(|busy| self.stats.refused(Cause::from(*busy)))
    }

    /// Counts a put that was refused for something that will pass, or that wants an operator. As in
    /// RocketMQ it has `failed` only when the store would have taken it.
    fn count_refused(&self, status: PutStatus, failed: bool) {
        self.stats.put_failed.fetch_add(failed.into(), Ordering::Relaxed);
        match status {
            PutStatus::OsPageCacheBusy(busy) => self.stats.refused(Cause::from(busy)),
            PutStatus::CreateMapedFileFailed => self.stats.refused(Cause::NoNextFile),
            PutStatus::ServiceNotAvailable if self.flags.has(Refusal::DiskFull) => {
                self.stats.refused(Cause::DiskFull);
            }
            PutStatus::ServiceNotAvailable if !self.flags.is_writeable() => {
                self.stats.refused(Cause::DiskError);
            }
            _ => {}
        }
    }

    /// For how many ms the put lock has been held without a break.
    pub fn lock_held_ms(&self) -> i64 {
        self.log.lock_held_ms()
    }
}

impl From<Unstorable> for PutStatus {
    fn from(why: Unstorable) -> PutStatus {
        match why {
            Unstorable::MessageIllegal => PutStatus::MessageIllegal,
            Unstorable::PropertiesSizeExceeded => PutStatus::PropertiesSizeExceeded,
        }
    }
}

/// Whether a message of a batch body says at which offsets of further queues it is.
fn claims_offsets(body: &[u8]) -> bool {
    Messages::new(body).flatten().any(|message| {
        let properties = String::from_utf8_lossy(message.properties);
        property::get(&properties, INNER_MULTI_QUEUE_OFFSET).is_some()
    })
}

/// Where each of the encoded records that stand back to back begins.
fn record_offsets(records: &[u8]) -> Vec<i64> {
    let mut offsets = Vec::new();
    let mut at = 0;
    while let Some(size) = records[at..].first_chunk() {
        offsets.push(at as i64);
        at += i32::from_be_bytes(*size) as usize;
    }
    offsets
}

fn stored(config: &BrokerConfig, appended: Appended, began: Instant) -> Put {
    let wait = (config.store.flush_disk_type == FlushDiskType::SyncFlush).then(|| WaitFor {
        offset: appended.end(),
        deadline: began + Duration::from_millis(config.store.sync_flush_timeout.max(0) as u64),
    });
    // There are no slaves yet: a SYNC_MASTER says so.
    let replica = match config.store.broker_role {
        BrokerRole::SyncMaster => PutStatus::SlaveNotAvailable,
        _ => PutStatus::PutOk,
    };
    Put {
        status: PutStatus::PutOk,
        physical_offset: appended.physical_offset,
        queue_offset: appended.queue_offset,
        size: appended.size,
        store_timestamp: appended.store_timestamp,
        batch_offsets: Vec::new(),
        wait,
        replica,
    }
}
