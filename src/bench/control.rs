//! Requests before the load, one at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::settings::Settings;
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::protocol::code::request;
use crate::protocol::{Command, frame};

/// How long the broker may take for one of them.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the topics with the queues of the run.
pub fn prepare_topics(settings: &Settings) -> Result<()> {
    let mut stream = connect(settings)?;
    (0..settings.topics)
        .try_for_each(|number| prepare(&mut stream, settings, &settings.topic_name(number)))
}

fn prepare(stream: &mut TcpStream, settings: &Settings, topic: &str) -> Result<()> {
    let queues = settings.queues.to_string();
    let mut command = Command::request(request::UPDATE_AND_CREATE_TOPIC);
    let fields = command.fields_mut();
    for (name, value) in [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ] {
        fields.push(name, value);
    }
    call(stream, settings, &command).map(|_| ())
}

/// The offset that the next message of each queue will have.
pub fn max_offsets(settings: &Settings) -> Result<Vec<u64>> {
    let mut stream = connect(settings)?;
    (0..settings.places()).map(|place| max_offset(&mut stream, settings, place)).collect()
}

fn max_offset(stream: &mut TcpStream, settings: &Settings, place: usize) -> Result<u64> {
    let (topic, queue) = settings.topic_and_queue(place);
    let mut command = Command::request(request::GET_MAX_OFFSET);
    command.fields_mut().push("topic", &settings.topic_name(topic));
    command.fields_mut().push_display("queueId", queue);
    let reply = call(stream, settings, &command)?;
    reply
        .field("offset")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Protocol(format!("{}: an answer without offset", settings.broker)))
}

/// A connection that has been used once.
pub fn used_connection(settings: &Settings) -> Result<TcpStream> {
    let mut stream = connect(settings)?;
    max_offset(&mut stream, settings, 0)?;
    Ok(stream)
}

fn connect(settings: &Settings) -> Result<TcpStream> {
    let what = || format!("connect to {}", settings.broker);
    let stream = TcpStream::connect_timeout(&settings.broker, TIMEOUT).what(what)?;
    stream.set_read_timeout(Some(TIMEOUT)).what(what)?;
    stream.set_nodelay(true).what(what)?;
    Ok(stream)
}

/// Asks once; an answer with another code than 0 is an error.
fn call(
    stream: &mut (impl Read + Write),
    settings: &Settings,
    command: &Command,
) -> Result<Command> {
    let what = || format!("ask {} for topic {}", settings.broker, settings.topic);
    stream.write_all(&frame::encode(command)).what(what)?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    let reply = loop {
        if let Some(len) = frame::cut(&received)? {
            break frame::decode(&received[..len])?;
        }
        let count = match stream.read(&mut chunk) {
            // With a timeout, also by a pause of this process.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.what(what)?,
        };
        if count == 0 {
            return Err(Error::Protocol(format!("{} closed the connection", settings.broker)));
        }
        received.extend_from_slice(&chunk[..count]);
    };
    match reply.code {
        0 => Ok(reply),
        code => Err(Error::refused(code, reply.remark.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that answers byte by byte, each behind an interruption.
    struct Halting {
        answer: Vec<u8>,
        interrupt: bool,
    }

    impl Read for Halting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(ErrorKind::Interrupted.into());
            }
            buffer[0] = self.answer.remove(0);
            Ok(1)
        }
    }

    impl Write for Halting {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt { Err(ErrorKind::Interrupted.into()) } else { Ok(1) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pause_of_this_process_is_no_error() {
        let args = ["send".to_owned()];
        let settings = Settings::parse(&args).unwrap().unwrap();
        let command = Command::request(request::GET_MAX_OFFSET);
        let mut answer = command.reply(0);
        answer.remark = Some("here".into());
        let mut broker = Halting { answer: frame::encode(&answer), interrupt: false };
        let reply = call(&mut broker, &settings, &command).unwrap();
        assert_eq!(reply.remark.as_deref(), Some("here"));
        assert!(broker.answer.is_empty());
    }
}
