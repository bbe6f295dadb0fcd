//! One connection that speaks raw frames to a server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use ferrocket::protocol::{Command, frame};

/// A connection; every wait ends after 10 s in a panic.
pub struct Peer {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    pub fn connect(addr: SocketAddr) -> Peer {
        Peer::over(TcpStream::connect(addr).expect("connect"))
    }

    pub fn over(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        Peer { stream, read: Vec::new() }
    }

    pub fn send(&mut self, command: &Command) {
        let mut bytes = Vec::new();
        frame::encode_head(command, &mut bytes);
        self.stream.write_all(&bytes).expect("write");
    }

    /// The next frame.
    pub fn receive(&mut self) -> Command {
        self.try_receive().expect("the connection was closed instead of answered")
    }

    /// The next frame; `None` when the connection is closed instead.
    fn try_receive(&mut self) -> Option<Command> {
        loop {
            if let Some(len) = frame::cut(&self.read).expect("a frame") {
                let bytes: Vec<u8> = self.read.drain(..len).collect();
                return Some(frame::decode(&bytes).expect("a command"));
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer in time: {error}"),
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, command: &Command) -> Command {
        self.send(command);
        let reply = self.receive();
        assert!(reply.is_response());
        assert_eq!(reply.opaque, command.opaque);
        reply
    }

    /// As `ask`, whatever else the server says meanwhile.
    pub fn ask_among(&mut self, command: &Command) -> Command {
        self.send(command);
        loop {
            let reply = self.receive();
            if reply.is_response() && reply.opaque == command.opaque {
                return reply;
            }
        }
    }

    /// Sends a request and waits for a frame; `None` when the connection is closed instead.
    pub fn try_ask(&mut self, command: &Command) -> Option<Command> {
        self.stream.write_all(&frame::encode(command)).ok()?;
        self.try_receive()
    }

    /// Sends bytes that may be anything and no more, and reads until the server closes, too.
    pub fn finish_with(mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.try_receive().is_some() {}
    }

    /// Sends bytes that are no frame: the server must close and answer nothing.
    pub fn expect_close(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write");
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "an answer to garbage"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// A request with ext fields.
pub fn request(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut command = Command::request(code);
    for (name, value) in fields {
        command.fields_mut().push(name, value);
    }
    command
}
