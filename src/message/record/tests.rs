use proptest::prelude::*;

use super::*;
use crate::message::{batch, id};

const MAX: usize = 4 * 1024 * 1024;

/// A record that a Java broker wrote: topic TopicA, queue 3, flag 7, body hello, six properties.
const JAVA: &str = "000000cb daa320a7 3610a686 00000003 00000007 0000000000000000
    0000000000000000 00000000 000001a1fb2338f3 7f0000010000df10 000001a1fb233917 7f00000100002a9f
    00000000 0000000000000000 00000005 68656c6c6f 06 546f70696341 0065
    75017602 4b455953016b31206b3202 554e49515f4b455901
    46443030303030303030303030303030303030303030303030303030303030323736383535464644324232373636
    42423530463330303030 02 434c5553544552014331 02 544147530174616741";

/// A transaction op record of a Java broker.
const JAVA_OP: &str = "00000087daa320a774dbdf2100000000000000000000000000000000000000000000
    086b00000000000001a1fb233a507f00000100002a9f000001a1fb233a527f00000100002a9f0000000000000000
    0000000000000001301b524d515f5359535f5452414e535f4f505f48414c465f544f5049430010
    57414954017472756502544147530164";

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn sample() -> MessageRef<'static> {
    MessageRef {
        topic: "T",
        queue_id: 2,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_timestamp: 0,
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"hi",
        properties: "K\u{1}v",
    }
}

fn record_of(message: &MessageRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(encode(message, MAX, &mut out), Ok(out.len()));
    out
}

#[test]
fn a_small_record_is_java_s() {
    let mut record = record_of(&sample());
    assert_eq!(patch(&mut record, 3, 5, 0), 97);
    // The CRC, which the vector leaves zero, is that of "hi".
    let mut expected = bytes_of(
        "00000061daa320a7000000000000000200000000000000000000000300000000000000050000000000000000\
         000000007f0000010000000100000000000000007f00000100002a9f0000000000000000000000000000\
         00026869\
         01540003 4b0176",
    );
    expected[8..12].copy_from_slice(&body_crc(b"hi").to_be_bytes());
    assert_eq!(record, expected);
    assert_eq!(id::offset_id(sample().store_host, 5), "7F00000100002A9F0000000000000005");
}

#[test]
fn a_java_broker_s_record_is_read_and_written_alike() {
    let bytes = bytes_of(JAVA);
    let message = decode(&bytes).unwrap();
    assert_eq!((message.topic.as_str(), message.queue_id, message.flag), ("TopicA", 3, 7));
    assert_eq!((message.body.as_slice(), message.store_size), (&b"hello"[..], 203));
    assert_eq!(message.property("KEYS"), Some("k1 k2"));
    assert_eq!(message.property("u"), Some("v"));
    assert_eq!(message.property("TAGS"), Some("tagA"));
    assert_eq!(message.property("CLUSTER"), Some("C1"));
    assert_eq!(message.born_host, "127.0.0.1:57104".parse().unwrap());
    assert_eq!(message.store_timestamp, 0x0000_01a1_fb23_3917);
    assert_eq!(message.offset_id(), "7F00000100002A9F0000000000000000");
    assert_eq!(record_of(&message.as_ref()), bytes);

    let bytes = bytes_of(JAVA_OP);
    let mut record = record_of(&decode(&bytes).unwrap().as_ref());
    patch(&mut record, 0, 0x86b, 0x0000_01a1_fb23_3a52);
    assert_eq!(record, bytes);
}

#[test]
fn hosts_of_both_families() {
    let born_host = "[fd00::2]:57104".parse().unwrap();
    for (store, size) in [("[fd00::1]:10911", 121), ("127.0.0.1:10911", 109)] {
        let store_host = store.parse().unwrap();
        let message = MessageRef { born_host, store_host, ..sample() };
        let mut record = record_of(&message);
        assert_eq!(patch(&mut record, 1, 2, 3), size);
        let read = RecordView::new(&record).unwrap();
        assert_eq!((read.born_host(), read.store_host()), (born_host, store_host));
        assert_eq!((read.queue_offset(), read.physical_offset()), (1, 2));
        assert_eq!((read.store_timestamp(), read.reconsume_times()), (3, 0));
        assert_eq!(read.sys_flag() & 0x30, if size == 121 { 0x30 } else { 0x10 });
    }
    let mapped = MessageRef { born_host: "[::ffff:1.2.3.4]:5".parse().unwrap(), ..sample() };
    let record = record_of(&mapped);
    assert_eq!(RecordView::new(&record).unwrap().born_host(), "1.2.3.4:5".parse().unwrap());
}

#[test]
fn limits_have_their_statuses() {
    let mut out = b"before".to_vec();
    let long = "x".repeat(32768);
    let wide = "é".repeat(20000);
    let topic = "t".repeat(128);
    let cases = [
        (MessageRef { properties: &long, ..sample() }, Unstorable::MessageIllegal),
        (MessageRef { properties: &wide, ..sample() }, Unstorable::PropertiesSizeExceeded),
        (MessageRef { topic: &topic, ..sample() }, Unstorable::MessageIllegal),
        (MessageRef { body: &[0; 11], ..sample() }, Unstorable::MessageIllegal),
    ];
    for (message, expected) in cases {
        assert_eq!(encode(&message, 10, &mut out), Err(expected));
        assert_eq!(out, b"before");
    }
    let fits = MessageRef { properties: &long[1..], topic: &topic[1..], ..sample() };
    assert!(encode(&fits, 10, &mut out).is_ok());
}

#[test]
fn batches_become_records() {
    let mut body = Vec::new();
    batch::push(&mut body, 1, b"a", "K\u{1}1").unwrap();
    batch::push(&mut body, 2, b"bc", "K\u{1}2\u{2}").unwrap();
    batch::push(&mut body, 3, b"", "").unwrap();
    let message = MessageRef { body: &body, properties: "CLUSTER\u{1}C", ..sample() };
    let mut out = Vec::new();
    assert_eq!(encode_batch(&message, MAX, &mut out), Ok(3));
    let mut at = 0;
    for index in 0..3 {
        at += patch(&mut out[at..], 10 + index, 100 + at as i64, 9);
    }
    assert_eq!(at, out.len());
    let all = decode_all(&out).unwrap();
    let seen: Vec<_> =
        all.iter().map(|m| (m.flag, m.properties.as_str(), m.queue_offset)).collect();
    assert_eq!(seen[0], (1, "K\u{1}1\u{2}CLUSTER\u{1}C", 10));
    assert_eq!(seen[1], (2, "K\u{1}2\u{2}CLUSTER\u{1}C", 11));
    assert_eq!(seen[2], (3, "CLUSTER\u{1}C", 12));
    assert_eq!(all[1].physical_offset, 100 + i64::from(all[0].store_size));

    out.clear();
    let broken = MessageRef { body: &body[..body.len() - 1], ..message };
    assert_eq!(encode_batch(&broken, MAX, &mut out), Err(Unstorable::MessageIllegal));
    assert!(out.is_empty());
    assert_eq!(encode_batch(&message, 10, &mut out), Err(Unstorable::MessageIllegal));
}

#[test]
fn what_is_not_a_record_is_told_apart() {
    let record = record_of(&sample());
    assert_eq!(RecordView::parse(&blank(77), true), Checked::Blank(77));
    assert_eq!(RecordView::parse(&[0; 200], true), Checked::Illegal);
    let mut wrong = record.clone();
    wrong[3] += 1;
    assert_eq!(RecordView::parse(&wrong, true), Checked::WrongSize(98));
    let mut wrong = record.clone();
    wrong[88] ^= 1; // a body byte
    assert_eq!(RecordView::parse(&wrong, true), Checked::Illegal);
    assert!(matches!(RecordView::parse(&wrong, false), Checked::Record(_)));
    for cut in 0..record.len() {
        assert_eq!(RecordView::parse(&record[..cut], true), Checked::Illegal);
    }
    // Bytes behind the record are the next one's.
    let mut two = record.clone();
    two.extend_from_slice(&record);
    assert_eq!(RecordView::new(&two).unwrap().bytes(), record);
    assert_eq!(decode_all(&two).unwrap().len(), 2);
}

#[test]
fn version_2_has_a_wide_topic_length() {
    let mut record = record_of(&sample());
    let topic_at = 88 + 2;
    record.insert(topic_at, 0);
    record[3] += 1;
    record[7] = 0xAB;
    assert_eq!(RecordView::new(&record).unwrap().topic(), "T");
}

#[test]
fn properties_that_are_not_utf8_end_early() {
    let mut record = record_of(&MessageRef { properties: "K\u{1}vvv", ..sample() });
    let last = record.len() - 1;
    record[last] = 0xff;
    assert_eq!(RecordView::new(&record).unwrap().properties(), "K\u{1}vv");
}

proptest! {
    #[test]
    fn round_trip(body in proptest::collection::vec(any::<u8>(), 0..300), topic in "[a-z%]{1,127}",
                  properties in "\\PC{0,200}", queue_id: i32, flag: i32, times: (i64, i64)) {
        let message = MessageRef {
            topic: &topic, body: &body, properties: &properties, queue_id, flag,
            born_timestamp: times.0, prepared_transaction_offset: times.1, ..sample()
        };
        let read = decode(&record_of(&message)).unwrap();
        prop_assert_eq!((read.topic, read.body, read.properties), (topic, body, properties));
        prop_assert_eq!((read.queue_id, read.flag), (queue_id, flag));
        prop_assert_eq!((read.born_timestamp, read.prepared_transaction_offset), times);
    }

    #[test]
    fn mutations_never_panic(at in 0..203_usize, value: u8, cut in 0..204_usize, check: bool) {
        let mut bytes = bytes_of(JAVA);
        bytes[at] = value;
        if let Checked::Record(record) = RecordView::parse(&bytes[..cut], check) {
            let message = record.to_message();
            prop_assert!(message.store_size as usize <= cut);
        }
        let _ = decode_all(&bytes[..cut]);
        let _ = batch::Messages::new(&bytes[..cut]).count();
    }
}
