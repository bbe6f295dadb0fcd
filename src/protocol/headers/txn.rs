//! Transactions: 37, 39, 323.

use crate::protocol::header::headers;

headers! {
    /// 37 END_TRANSACTION.
    EndTransaction<'a> {
        producer_group: &'a str, "producerGroup";
        /// Offset in the queue of half messages.
        tran_state_table_offset: i64, "tranStateTableOffset";
        commit_log_offset: i64, "commitLogOffset";
        /// `message::flags::TRANSACTION_…`, 0 when unknown.
        commit_or_rollback: i32, "commitOrRollback";
        from_transaction_check: bool = false, "fromTransactionCheck";
        msg_id: Option<&'a str>, "msgId";
        transaction_id: Option<&'a str>, "transactionId";
        broker_name: Option<&'a str>, "bname";
    }

    /// 39 CHECK_TRANSACTION_STATE.
    CheckTransactionState<'a> {
        /// Offset in the queue of half messages.
        tran_state_table_offset: i64, "tranStateTableOffset";
        commit_log_offset: i64, "commitLogOffset";
        /// The client's unique key.
        msg_id: Option<&'a str>, "msgId";
        transaction_id: Option<&'a str>, "transactionId";
        offset_msg_id: Option<&'a str>, "offsetMsgId";
        broker_name: Option<&'a str>, "bname";
    }

    /// 323 RESUME_CHECK_HALF_MESSAGE.
    ResumeCheckHalfMessage<'a> {
        /// Offset message id.
        msg_id: Option<&'a str>, "msgId";
    }
}
