//! Tests sessions against the client of rustls, which has the buffers of its own.

use std::io::{Read as _, Write as _};

use proptest::prelude::*;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::Secret;
use crate::tls::{Certificate, Tickets, http_config, provider};

/// The settings of a server and what a client must trust.
struct Pair {
    chain: String,
    key: Secret,
    der: CertificateDer<'static>,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["push.example".to_owned()]).expect("a pair");
        let key = Secret::new(made.signing_key.serialize_pem());
        Self { chain: made.cert.pem(), key, der: made.cert.der().clone() }
    }

    fn server(&self, secrets: &[&str]) -> Arc<ServerConfig> {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        let tickets = Arc::new(Tickets::new("test", &secrets, || 1_800_000_000));
        let certificate = Certificate::from_pem(self.chain.as_bytes(), &self.key).expect("a pair");
        http_config(vec![certificate], tickets).expect("a certificate")
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(4);
        config.enable_early_data = true;
        Arc::new(config)
    }
}

/// A client and a session, and the bytes between them in pieces of a size.
struct Talk {
    client: ClientConnection,
    session: TlsSession,
    piece: usize,
}

impl Talk {
    fn new(client: Arc<ClientConfig>, server: Arc<ServerConfig>, piece: usize) -> Self {
        let name = ServerName::try_from("push.example").expect("a name");
        let client = ClientConnection::new(client, name).expect("settings");
        let session = TlsSession::new(server).expect("settings");
        Self { client, session, piece }
    }

    fn done(version: &'static SupportedProtocolVersion) -> Self {
        let pair = Pair::new();
        let mut talk = Self::new(pair.client(version), pair.server(&["secret"]), 4_096);
        talk.settle().expect("a handshake");
        assert!(!talk.session.is_handshaking() && !talk.client.is_handshaking());
        talk
    }

    /// Passes bytes until nobody has any.
    fn settle(&mut self) -> Result<(), Error> {
        loop {
            let mut from_client = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut from_client).expect("a vector");
            }
            for piece in from_client.chunks_mut(self.piece) {
                self.session.receive(piece)?;
            }
            let from_server = self.session.unsent().to_vec();
            self.session.sent(from_server.len());
            if from_client.is_empty() && from_server.is_empty() {
                return Ok(());
            }
            self.give_client(&from_server);
        }
    }

    fn give_client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("a slice");
            self.client.process_new_packets().expect("the server is right");
        }
    }

    /// What the session passes to the application.
    fn heard(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut buffer = [0; 1_000];
        loop {
            match self.session.take(&mut buffer) {
                0 => return heard,
                len => heard.extend_from_slice(&buffer[..len]),
            }
        }
    }

    fn say(&mut self, plaintext: &[u8]) {
        let mut sealed = Vec::new();
        let len = self.session.seal(plaintext, &mut sealed).expect("it may write");
        self.give_client(&sealed[..len]);
    }

    fn client_heard(&mut self) -> Vec<u8> {
        let mut heard = vec![0; 100_000];
        let len = self.client.reader().read(&mut heard).unwrap_or(0);
        heard.truncate(len);
        heard
    }
}

/// A record, as it is on the wire.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short payload");
    [&[kind, 3, 3], &len.to_be_bytes()[..], payload].concat()
}

#[test]
fn both_versions_carry_bytes_in_both_directions() {
    for version in [&TLS13, &TLS12] {
        let mut talk = Talk::done(version);
        assert_eq!(talk.session.version(), talk.client.protocol_version());
        assert_eq!(talk.client.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(!talk.session.is_resumed());
        for len in [0, 1, 5, 1_000, MAX_PLAINTEXT_BYTES] {
            let said = vec![b'x'; len];
            talk.say(&said);
            assert_eq!(talk.client_heard().len(), len, "{version:?}");
            talk.client.writer().write_all(&said).expect("it may write");
            talk.settle().expect("it is right");
            assert_eq!(talk.heard().len(), len, "{version:?}");
        }
        talk.session.close();
        talk.session.close();
        talk.settle().expect("it is right");
        assert_eq!(talk.client.reader().read(&mut [0; 1]).expect("an end"), 0);
        talk.client.writer().write_all(b"still").expect("it may write");
        talk.client.send_close_notify();
        talk.settle().expect("it is right");
        assert!(talk.session.is_ended());
        assert_eq!(talk.heard(), b"still");
        assert_eq!(talk.session.receive(&mut [0xff; 100]), Ok(()), "nothing counts after the end");
    }
}

#[test]
fn an_idle_session_keeps_no_buffers() {
    let mut talk = Talk::done(&TLS13);
    talk.client.writer().write_all(&[b'x'; 5_000]).expect("it may write");
    talk.settle().expect("it is right");
    assert_eq!(talk.heard().len(), 5_000);
    talk.say(b"hello");
    let session = &talk.session;
    let held = [&session.unread, &session.opened, &session.unsent].map(Vec::capacity);
    assert_eq!(held, [0; 3]);
}

#[test]
fn a_client_resumes_wherever_the_secret_is_known() {
    let pair = Pair::new();
    let (client, one) = (pair.client(&TLS13), pair.server(&["secret"]));
    let resumes = |server: &Arc<ServerConfig>| {
        let mut talk = Talk::new(client.clone(), server.clone(), 4_096);
        // Early data is not announced, so there is none.
        assert!(talk.client.early_data().is_none());
        talk.settle().expect("a handshake");
        assert!(!talk.session.is_handshaking());
        talk.session.is_resumed()
    };
    assert!(!resumes(&one));
    assert!(resumes(&one));
    assert!(resumes(&pair.server(&["secret"])), "another process");
    assert!(resumes(&pair.server(&["new", "secret"])), "while secrets change");
    assert!(!resumes(&pair.server(&["another"])));
    assert!(!resumes(&pair.server(&[])));
    assert!(!resumes(&pair.server(&[])), "each has its own");
}

#[test]
fn a_client_of_tls_1_2_does_not_resume() {
    let pair = Pair::new();
    let (client, server) = (pair.client(&TLS12), pair.server(&["secret"]));
    for _ in 0..3 {
        let mut talk = Talk::new(client.clone(), server.clone(), 4_096);
        talk.settle().expect("a handshake");
        assert!(!talk.session.is_handshaking() && !talk.session.is_resumed());
    }
}

#[test]
fn garbage_gets_an_alert() {
    let server = Pair::new().server(&[]);
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![0xff; 100],
        record(22, &[0; 100]),
        record(22, &[1, 0, 0, 4, 3, 3, 0, 0]),
        record(23, b"data before the handshake"),
        record(20, &[1]),
        record(21, &[2, 80]),
    ] {
        let mut session = TlsSession::new(server.clone()).expect("settings");
        assert!(session.receive(&mut garbage.clone()).is_err(), "{garbage:?}");
        let is_alert = session.unsent().first() == Some(&21);
        assert_eq!(is_alert, garbage[0] != 21, "{garbage:?}");
        assert_eq!(session.take(&mut [0; 10]), 0);
        assert!(session.seal(b"x", &mut Vec::new()).is_err());
        session.close();
        assert_eq!(session.receive(&mut record(22, &[0; 100])), Ok(()), "nothing counts any more");
    }
}

#[test]
fn a_client_of_tls_1_1_is_refused() {
    let mut session = TlsSession::new(Pair::new().server(&[])).expect("settings");
    let suites = [0, 4, 0xc0, 0x13, 0, 0x2f];
    let hello = [&[3, 2], &[7; 32][..], &[0], &suites, &[1, 0]].concat();
    let message = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    let refused = session.receive(&mut record(22, &message));
    assert!(matches!(refused, Err(Error::PeerIncompatible(_))), "{refused:?}");
    // handshake_failure (RFC 8446 section 6.2): it has no signatures that TLS 1.2 accepts.
    assert_eq!(session.unsent(), record(21, &[2, 40]));
}

#[test]
fn a_handshake_without_end_is_bounded() {
    let mut session = TlsSession::new(Pair::new().server(&[])).expect("settings");
    // A ClientHello that announces 16 MiB, or 64 KiB less a bit.
    for len in [[0xff, 0xff, 0xff], [0, 0xff, 0xf0]] {
        let first = [&[1][..], &len, &[0; 1_000]].concat();
        let mut result = session.receive(&mut record(22, &first));
        let mut sent = 0;
        while result.is_ok() && sent < 100 {
            result = session.receive(&mut record(22, &[0; 1_000]));
            sent += 1;
        }
        assert!(result.is_err() && sent < 50, "{sent}: {result:?}");
        assert!(session.unread.len() <= MAX_UNREAD_BYTES + 2_000);
        session = TlsSession::new(Pair::new().server(&[])).expect("settings");
    }
}

#[test]
fn a_changed_record_ends_the_connection() {
    for version in [&TLS13, &TLS12] {
        let mut talk = Talk::done(version);
        talk.client.writer().write_all(b"hello").expect("it may write");
        let mut sent = Vec::new();
        talk.client.write_tls(&mut sent).expect("a vector");
        *sent.last_mut().expect("a record") ^= 1;
        assert_eq!(talk.session.receive(&mut sent), Err(Error::DecryptError));
        assert_eq!(talk.heard(), b"");
        assert!(!talk.session.unsent().is_empty(), "an alert");
    }
}

#[test]
fn a_flood_of_key_updates_ends_the_connection() {
    let mut talk = Talk::done(&TLS13);
    let flooded = (0..1_000).find_map(|_| {
        talk.client.refresh_traffic_keys().expect("TLS 1.3");
        let mut sent = Vec::new();
        talk.client.write_tls(&mut sent).expect("a vector");
        talk.session.receive(&mut sent).err()
    });
    assert!(matches!(flooded, Some(Error::PeerMisbehaved(_))), "{flooded:?}");
    assert!(talk.session.unsent().len() < 1_000);
}

/// The state of a message that is spread over records is kept with the bytes that were read.
#[test]
fn a_session_writes_while_half_a_message_has_come() {
    let pair = Pair::new();
    let mut config = Arc::unwrap_or_clone(pair.client(&TLS13));
    config.max_fragment_size = Some(32);
    let mut talk = Talk::new(Arc::new(config), pair.server(&[]), 33);
    talk.settle().expect("a handshake");
    assert!(!talk.session.is_handshaking());
    talk.say(b"one");
    talk.client.writer().write_all(b"0123456789").expect("it may write");
    let mut sent = Vec::new();
    talk.client.write_tls(&mut sent).expect("a vector");
    let (first, rest) = sent.split_at_mut(7);
    talk.session.receive(first).expect("it is right");
    talk.say(b" two");
    talk.session.receive(rest).expect("it is right");
    assert_eq!((talk.client_heard(), talk.heard()), (b"one two".to_vec(), b"0123456789".to_vec()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn pieces_do_not_matter(piece in 1usize..3_000, said in prop::collection::vec(any::<u8>(), 0..40_000)) {
        let pair = Pair::new();
        let mut talk = Talk::new(pair.client(&TLS13), pair.server(&[]), piece);
        talk.settle().expect("a handshake");
        talk.client.writer().write_all(&said).expect("it may write");
        talk.settle().expect("it is right");
        prop_assert_eq!(talk.heard(), said);
    }

    #[test]
    fn no_bytes_panic_a_session(garbage: Vec<u8>, piece in 1usize..100) {
        let mut session = TlsSession::new(Pair::new().server(&[])).expect("settings");
        for piece in garbage.clone().chunks_mut(piece) {
            if session.receive(piece).is_err() {
                break;
            }
        }
        session.close();
        prop_assert!(session.is_handshaking());
    }
}
