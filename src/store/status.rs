//! What became of a put and of a get, under RocketMQ's names.

/// PutMessageStatus: the outcome of appending a message, `name()` in Java's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutStatus {
    /// Stored, flushed and replicated as far as the configuration asks.
    PutOk,
    /// Stored, but not on disk within `syncFlushTimeout`.
    FlushDiskTimeout,
    /// Stored, but on no slave within `slaveTimeout`.
    FlushSlaveTimeout,
    /// Stored, but no slave is near enough to replicate to.
    SlaveNotAvailable,
    /// Not stored: stopped, a slave, or not writeable.
    ServiceNotAvailable,
    /// Not stored: no next commit-log file.
    CreateMapedFileFailed,
    /// Not stored: topic, body or record too long.
    MessageIllegal,
    /// Not stored: the encoded properties are too long.
    PropertiesSizeExceeded,
    /// Not stored: no more light queues are made.
    LmqConsumeQueueNumExceeded,
    /// Not stored: one append has held the log for longer than `osPageCacheBusyTimeOutMills`.
    OsPageCacheBusy(Busy),
    /// Not stored for another reason.
    UnknownError,
}

impl PutStatus {
    /// Java's name of the constant.
    pub fn name(self) -> &'static str {
        match self {
            PutStatus::PutOk => "PUT_OK",
            PutStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            PutStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            PutStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
            PutStatus::ServiceNotAvailable => "SERVICE_NOT_AVAILABLE",
            PutStatus::CreateMapedFileFailed => "CREATE_MAPEDFILE_FAILED",
            PutStatus::MessageIllegal => "MESSAGE_ILLEGAL",
            PutStatus::PropertiesSizeExceeded => "PROPERTIES_SIZE_EXCEEDED",
            PutStatus::LmqConsumeQueueNumExceeded => "LMQ_CONSUME_QUEUE_NUM_EXCEEDED",
            PutStatus::OsPageCacheBusy(_) => "OS_PAGECACHE_BUSY",
            PutStatus::UnknownError => "UNKNOWN_ERROR",
        }
    }
}

/// What the append that holds the log for too long is doing, or else is wanting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// It copies a record: memory is short, or the disk behind the page cache does not keep up.
    PageCache,
    /// It seals a full file and goes on to the next one.
    FileChange,
    /// None does: all buffers of the transient store pool wait to be copied to their files.
    StorePool,
}

impl Busy {
    /// For the remark of an answer.
    pub fn text(self) -> &'static str {
        match self {
            Busy::PageCache => "a message is waiting for the page cache",
            Busy::FileChange => "the log is changing to its next file",
            Busy::StorePool => "no buffer of the transient store pool is free",
        }
    }
}

/// GetMessageStatus: the outcome of reading a queue, also the remark of a pull reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetStatus {
    /// At least one message.
    Found,
    /// Units were scanned, none passed the filter.
    NoMatchedMessage,
    /// The units are there, their records are no longer.
    MessageWasRemoving,
    /// The consume-queue file of the offset is gone.
    OffsetFoundNull,
    /// The offset is beyond the next message.
    OffsetOverflowBadly,
    /// The offset is that of the next message: nothing new yet.
    OffsetOverflowOne,
    /// The offset is below the oldest message.
    OffsetTooSmall,
    /// There is no such queue.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
}

impl GetStatus {
    /// Java's name of the constant.
    pub fn name(self) -> &'static str {
        match self {
            GetStatus::Found => "FOUND",
            GetStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            GetStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            GetStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
            GetStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            GetStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            GetStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            GetStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            GetStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        }
    }
}
