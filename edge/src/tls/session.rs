//! The server's side of one TLS connection, without its socket: ciphertext goes in and plaintext comes
//! out, and the other way round.
//!
//! Between records it has no buffers: an idle connection costs its keys and their state.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};

/// The most plaintext of one record (RFC 8446 section 5.1).
pub const MAX_PLAINTEXT_BYTES: usize = 1 << 14;

/// How many bytes may wait for the rest of a record, or of a handshake message that is spread over
/// records: the longest record of TLS 1.2 twice. A client's messages fit into one.
const MAX_UNREAD_BYTES: usize = 2 * (5 + MAX_PLAINTEXT_BYTES + 2_048);

/// How much longer than its plaintext the ciphertext of one record may be, with room for what TLS itself
/// has to send first, such as a key update.
const OVERHEAD_BYTES: usize = 512;

/// The state of one connection.
pub struct TlsSession {
    connection: UnbufferedServerConnection,
    /// The start of a record or of a handshake message.
    unread: Vec<u8>,
    /// Plaintext that nobody has taken yet.
    opened: Vec<u8>,
    /// Ciphertext that was not sent yet.
    unsent: Vec<u8>,
    /// How many bytes of the application's are in it.
    unsent_plaintext_bytes: usize,
    /// The peer sends nothing more.
    is_ended: bool,
    is_closed: bool,
    /// Nothing more can be read or sealed.
    is_broken: bool,
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").finish_non_exhaustive()
    }
}

impl TlsSession {
    /// A connection on which nothing has come yet.
    ///
    /// # Errors
    /// If the settings contradict each other.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            unread: Vec::new(),
            opened: Vec::new(),
            unsent: Vec::new(),
            unsent_plaintext_bytes: 0,
            is_ended: false,
            is_closed: false,
            is_broken: false,
        })
    }

    /// Reads ciphertext, which is decrypted in place. What it says to the application is for
    /// [`take`](Self::take); what has to be answered is in [`unsent`](Self::unsent).
    ///
    /// # Errors
    /// Any error ends the connection; the alert for the peer is in [`unsent`](Self::unsent).
    pub fn receive(&mut self, ciphertext: &mut [u8]) -> Result<(), Error> {
        if self.is_ended || self.is_broken {
            return Ok(());
        }
        let result = self.read(ciphertext);
        self.is_broken = result.is_err();
        result
    }

    fn read(&mut self, ciphertext: &mut [u8]) -> Result<(), Error> {
        if self.unread.is_empty() {
            let read = self.process(ciphertext)?;
            self.unread.extend_from_slice(&ciphertext[read..]);
        } else {
            let mut unread = std::mem::take(&mut self.unread);
            unread.extend_from_slice(ciphertext);
            let read = self.process(&mut unread)?;
            if read < unread.len() {
                unread.drain(..read);
                self.unread = unread;
            }
        }
        if self.is_ended {
            self.unread = Vec::new();
        }
        if self.unread.len() > MAX_UNREAD_BYTES {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(())
    }

    /// Moves the plaintext that came into `buffer`, and returns how many bytes that are.
    pub fn take(&mut self, buffer: &mut [u8]) -> usize {
        let len = self.opened.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.opened[..len]);
        if len == self.opened.len() {
            // An idle connection must not keep the memory of its busiest moment.
            self.opened = Vec::new();
        } else {
            self.opened.drain(..len);
        }
        len
    }

    /// Whether the peer has ended its direction, after the plaintext that was not taken yet.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether the handshake is not over yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The version, once it is agreed.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.connection.protocol_version()
    }

    /// Whether the client has resumed an earlier session, once that is decided.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Seals plaintext at the start of `sealed`, which grows if it has too little room, and returns how
    /// many bytes it takes there. These bytes must be sent after [`unsent`](Self::unsent).
    ///
    /// # Errors
    /// If the handshake is not over, or the keys are used up (TLS 1.2, after 2^24 records).
    pub fn seal(&mut self, plaintext: &[u8], sealed: &mut Vec<u8>) -> Result<usize, Error> {
        if self.is_broken {
            return Err(Error::EncryptError);
        }
        loop {
            let UnbufferedStatus { state, .. } =
                self.connection.process_tls_records(&mut self.unread);
            let ConnectionState::WriteTraffic(mut traffic) = state? else {
                return Err(Error::HandshakeNotComplete);
            };
            let needed = match traffic.encrypt(plaintext, sealed) {
                Ok(len) => return Ok(len),
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    required_size
                }
                Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
            };
            sealed.resize(needed + OVERHEAD_BYTES, 0);
        }
    }

    /// Seals the end of the own direction into [`unsent`](Self::unsent).
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.is_closed, true) || self.is_broken {
            return;
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.unread);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else { return };
        let mut alert = [0; OVERHEAD_BYTES];
        if let Ok(len) = traffic.queue_close_notify(&mut alert) {
            self.unsent.extend_from_slice(&alert[..len]);
        }
    }

    /// Ciphertext that has to be sent before anything that is sealed later.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// Notes that the first bytes of [`unsent`](Self::unsent) were sent.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn sent(&mut self, len: usize) {
        if len == self.unsent.len() {
            self.unsent = Vec::new();
            self.unsent_plaintext_bytes = 0;
        } else {
            self.unsent.drain(..len);
        }
    }

    /// Keeps the rest of what was sealed last and could not be sent; `plaintext_bytes` were sealed.
    pub fn keep(&mut self, rest: &[u8], plaintext_bytes: usize) {
        self.unsent.extend_from_slice(rest);
        self.unsent_plaintext_bytes += plaintext_bytes;
    }

    /// How many bytes of plaintext were sealed into records that have not left completely.
    pub fn unsent_plaintext_bytes(&self) -> usize {
        self.unsent_plaintext_bytes
    }

    /// Processes complete records and returns how many bytes of the input they are.
    fn process(&mut self, input: &mut [u8]) -> Result<usize, Error> {
        let mut read = 0;
        let Self { connection, opened, unsent, is_ended, .. } = self;
        loop {
            let UnbufferedStatus { mut discard, state } =
                connection.process_tls_records(&mut input[read..]);
            let is_over = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        opened.extend_from_slice(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let from = unsent.len();
                    if let Err(EncodeError::InsufficientSize(error)) = data.encode(&mut []) {
                        unsent.resize(from + error.required_size, 0);
                        data.encode(&mut unsent[from..]).map_err(|_| Error::EncryptError)?;
                    }
                    false
                }
                // It is in `unsent`.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    *is_ended = true;
                    false
                }
                Ok(
                    ConnectionState::BlockedHandshake
                    | ConnectionState::WriteTraffic(_)
                    | ConnectionState::Closed,
                ) => true,
                Ok(_) => return Err(Error::General("early data is not accepted".to_owned())),
                Err(error) => {
                    self.queue_alert(&mut input[read + discard..]);
                    return Err(error);
                }
            };
            read += discard;
            if is_over {
                return Ok(read);
            }
        }
    }

    /// Moves the alert of a connection that failed at this input to `unsent`.
    fn queue_alert(&mut self, input: &mut [u8]) {
        // The alert comes before the input is looked at again.
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(input);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
        let Err(EncodeError::InsufficientSize(error)) = data.encode(&mut []) else { return };
        let mut alert = vec![0; error.required_size];
        if data.encode(&mut alert).is_ok() {
            self.unsent.extend(alert);
        }
    }
}

#[cfg(test)]
mod tests;
