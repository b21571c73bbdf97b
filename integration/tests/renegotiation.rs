//! Clients of TLS 1.2 that ask for renegotiation, which no common library does more than once: their records
//! are made here.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use campanile_harness::client::raw::{Client, TEXT, request};
use campanile_harness::tls::Authority;
use campanile_harness::{Cluster, DEADLINE, PushApi};
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, OutboundChunks, OutboundPlainMessage,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType,
    ProtocolVersion, SupportedCipherSuite, Tls12CipherSuite,
};
use tempfile::TempDir;

/// The type of records that refuse something (RFC 5246, section 6.2.1).
const ALERT: u8 = 21;

/// The warning of a server that goes on, and the description (RFC 5246, section 7.2.2).
const NO_RENEGOTIATION: [u8; 2] = [1, 100];

/// The suite whose records are the easiest to make.
fn suite() -> &'static Tls12CipherSuite {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    match TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
        SupportedCipherSuite::Tls12(suite) => suite,
        SupportedCipherSuite::Tls13(_) => unreachable!("a suite of TLS 1.2"),
    }
}

/// A client of TLS 1.2 that can be asked for its keys.
fn attacker(authority: &Authority) -> Arc<ClientConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let provider =
        CryptoProvider { cipher_suites: vec![SupportedCipherSuite::Tls12(suite())], ..provider };
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(root).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("the provider has a suite");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// Says hello again and again, before its request or in an open websocket. Returns what the gateway sent
/// until it closed the connection: the levels and descriptions of alerts.
fn renegotiate(gateway: SocketAddr, config: &Arc<ClientConfig>, is_open: bool) -> Vec<[u8; 2]> {
    let mut socket = TcpStream::connect(gateway).expect("the gateway listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let name = ServerName::try_from("push.test").expect("a name");
    let mut tls = ClientConnection::new(config.clone(), name).expect("settings");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("a vector");
    socket.write_all(&hello).expect("the gateway reads");
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).expect("a handshake");
    }
    if is_open {
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(&request("/", &[])).expect("the gateway reads");
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("connected\n") {
            let mut part = [0; 1_000];
            let len = stream.read(&mut part).expect("an answer");
            answer.extend(&part[..len]);
        }
    }
    let keys = tls.dangerous_extract_secrets().expect("keys");
    let ((mut sequence, own), (mut its_sequence, its)) = (keys.tx, keys.rx);
    let (own, its) = (key_and_iv(own), key_and_iv(its));
    let mut encrypter = suite().aead_alg.encrypter(own.0, own.1.as_ref(), &[]);
    let mut decrypter = suite().aead_alg.decrypter(its.0, its.1.as_ref());
    for _ in 0..100 {
        let again = OutboundPlainMessage {
            typ: ContentType::Handshake,
            version: ProtocolVersion::TLSv1_2,
            // Without the header of its record.
            payload: OutboundChunks::Single(&hello[5..]),
        };
        let record = encrypter.encrypt(again, sequence).expect("a key").encode();
        sequence += 1;
        if socket.write_all(&record).is_err() {
            break;
        }
    }
    let mut sent = Vec::new();
    match socket.read_to_end(&mut sent) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the gateway keeps the connection: {error}"),
    }
    let (mut alerts, mut rest) = (Vec::new(), &mut sent[..]);
    while let [of, _, _, high, low, after @ ..] = rest {
        let (record, more) = after.split_at_mut(usize::from(u16::from_be_bytes([*high, *low])));
        assert_eq!(*of, ALERT);
        let record =
            InboundOpaqueMessage::new(ContentType::Alert, ProtocolVersion::TLSv1_2, record);
        let alert = decrypter.decrypt(record, its_sequence).expect("a key");
        its_sequence += 1;
        alerts.push(alert.payload.try_into().expect("two bytes"));
        rest = more;
    }
    alerts
}

fn key_and_iv(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("another suite"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_renegotiates_again_and_again_is_closed_and_others_go_on() {
    let (directory, authority) = (TempDir::new().expect("a directory"), Authority::new());
    let issued = authority.issue(&["push.test"]);
    let [cert, key] = ["cert", "key"].map(|name| directory.path().join(name));
    fs::write(&cert, issued.chain).expect("written");
    fs::write(&key, issued.key).expect("written");
    let (cert, key) = (cert.display(), key.display());
    let flags = format!(
        "--tls-cert {cert} --tls-key {key} --allow-host push.test --max-connections 2 --workers 1"
    );
    let cluster = Cluster::of(1).gateway(&flags).start().await;
    let gateway = cluster.gateway_addresses[0];
    let push: &PushApi = &cluster.push[0];
    let mut honest = Client::secure(gateway, &authority.client(ALL_VERSIONS), "push.test");
    honest.send(&request("/", &[]));
    honest.upgraded();
    // The greeting.
    honest.recv();
    let config = attacker(&authority);
    for round in 0..20 {
        // There is one place for them, which each leaves for the next.
        let sent = renegotiate(gateway, &config, round % 2 == 1);
        assert_eq!(sent[0], NO_RENEGOTIATION, "in round {round}: {sent:?}");
        assert!(sent.len() <= 2, "in round {round}: {sent:?}");
        let content = round.to_string();
        push.position(&[("content", &content)]).await;
        honest.expect(TEXT, &content);
    }
}
