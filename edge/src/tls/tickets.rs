//! Session tickets, by which a client of TLS 1.3 comes back without a certificate and a signature: to
//! the same process or to any other one with the same secret.
//!
//! Tickets are sealed with a key of the current period of 6 hours, which is derived from the secret. So
//! all processes of a cluster have the same keys and never talk about them. A ticket is accepted in its
//! period and in the next one.
//!
//! ```text
//! | format: 1 byte | period: 8 bytes | nonce: 12 bytes | sealed session | tag: 16 bytes |
//! ```
//! The format is 0. The period is authenticated together with the session.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::Secret;

/// How long the key of a ticket is used.
pub const TICKET_PERIOD_SECONDS: u64 = 6 * 60 * 60;

/// Keeps these keys apart from whatever else is derived from the same secret.
const SALT: &[u8] = b"campanile session tickets v1";

/// The format, the period and the nonce before the sealed session.
const FRONT_LEN: usize = 1 + 8 + NONCE_LEN;

/// The longest ticket that is opened. Those that are made here have about 150 bytes.
const MAX_TICKET_BYTES: usize = 4 << 10;

/// Seals and opens the tickets of one kind of service.
pub struct Tickets {
    service: &'static str,
    /// The first one seals. All of them open.
    roots: Vec<Prk>,
    /// Returns the seconds since the Unix epoch.
    clock: fn() -> u64,
}

impl Tickets {
    /// Derives the keys from `secrets`, of which the first one seals and all of them open. Without any,
    /// the secret is random, so that tickets are good for this process only.
    ///
    /// A ticket of one `service` is worth nothing at another: what a client had to prove differs.
    /// `clock` returns the seconds since the Unix epoch.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn new(service: &'static str, secrets: &[Secret], clock: fn() -> u64) -> Self {
        let salt = Salt::new(HKDF_SHA256, SALT);
        let mut roots: Vec<_> =
            secrets.iter().map(|secret| salt.extract(secret.expose())).collect();
        if roots.is_empty() {
            let mut random = [0; 32];
            rand::fill(&mut random).expect("the system has random numbers");
            roots.push(salt.extract(Secret::new(random).expose()));
        }
        Self { service, roots, clock }
    }

    fn key(&self, root: &Prk, period: u64) -> LessSafeKey {
        let info = [self.service.as_bytes(), &period.to_be_bytes()];
        let key = root.expand(&info, &AES_256_GCM).expect("32 bytes are few enough for HKDF");
        LessSafeKey::new(UnboundKey::from(key))
    }

    /// Seals a session at a time, in seconds since the Unix epoch. `None` if the system has no random
    /// numbers.
    fn seal(&self, session: &[u8], now: u64) -> Option<Vec<u8>> {
        let period = now / TICKET_PERIOD_SECONDS;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(FRONT_LEN + session.len() + AES_256_GCM.tag_len());
        ticket.push(0);
        ticket.extend(period.to_be_bytes());
        let aad = Aad::from(<[u8; 9]>::try_from(&ticket[..]).ok()?);
        ticket.extend(nonce);
        ticket.extend(session);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (front, sealed) = ticket.split_at_mut(FRONT_LEN);
        debug_assert_eq!(front.len(), FRONT_LEN);
        let key = self.key(&self.roots[0], period);
        let tag = key.seal_in_place_separate_tag(nonce, aad, sealed).ok()?;
        ticket.extend(tag.as_ref());
        Some(ticket)
    }

    /// Opens a ticket at a time. `None` if it was made by somebody else, was changed, or is too old.
    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET_BYTES {
            return None;
        }
        let (front, sealed) = ticket.split_at_checked(FRONT_LEN)?;
        let aad = <[u8; 9]>::try_from(&front[..9]).ok()?;
        let nonce = <[u8; NONCE_LEN]>::try_from(&front[9..]).ok()?;
        let period = u64::from_be_bytes(aad[1..].try_into().ok()?);
        let current = now / TICKET_PERIOD_SECONDS;
        // The next period counts as well, because clocks of a cluster differ a little.
        if aad[0] != 0 || period > current + 1 || period + 1 < current {
            return None;
        }
        self.roots.iter().find_map(|root| {
            let mut session = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            let key = self.key(root, period);
            let len = key.open_in_place(nonce, Aad::from(aad), &mut session).ok()?.len();
            session.truncate(len);
            Some(session)
        })
    }
}

/// Whether a session, as rustls writes it for a ticket, is one of TLS 1.2: it begins with the server's
/// name if there is one, followed by the version.
fn is_tls12(session: &[u8]) -> bool {
    let version_at = match session {
        [1, len, ..] => 2 + usize::from(*len),
        _ => 1,
    };
    session.get(version_at..version_at + 2) == Some(&[3, 3])
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("service", &self.service).finish_non_exhaustive()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// Every ticket is accepted for at least this long.
    fn lifetime(&self) -> u32 {
        TICKET_PERIOD_SECONDS as u32
    }

    /// Seals sessions of TLS 1.3 only. Who learns the secret could otherwise decrypt what was recorded
    /// of a connection of TLS 1.2, whose ticket holds everything that its keys depend on.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if is_tls12(session) { None } else { self.seal(session, (self.clock)()) }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, (self.clock)())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const SESSION: &[u8] = b"\0\x03\x04 a session";

    fn tickets(service: &'static str, secrets: &[&str]) -> Tickets {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        Tickets::new(service, &secrets, || NOW)
    }

    fn sealed(by: &Tickets) -> Vec<u8> {
        by.seal(SESSION, NOW).expect("random numbers")
    }

    #[test]
    fn every_process_with_the_secret_opens_the_ticket_of_another() {
        let (one, another) = (tickets("gateway", &["secret"]), tickets("gateway", &["secret"]));
        let ticket = sealed(&one);
        assert_eq!(another.open(&ticket, NOW).as_deref(), Some(SESSION));
        assert_ne!(ticket, sealed(&one), "each has its own nonce");
        assert!(!ticket.windows(9).any(|part| part == b"a session"));
        for stranger in [
            tickets("gateway", &["another"]),
            tickets("publisher", &["secret"]),
            tickets("gateway", &[]),
        ] {
            assert_eq!(stranger.open(&ticket, NOW), None, "{stranger:?}");
            assert_eq!(one.open(&sealed(&stranger), NOW), None, "{stranger:?}");
        }
    }

    #[test]
    fn a_ticket_is_accepted_in_its_period_and_in_the_next() {
        let tickets = tickets("gateway", &["secret"]);
        let begins = NOW / TICKET_PERIOD_SECONDS * TICKET_PERIOD_SECONDS;
        for made in [begins, begins + TICKET_PERIOD_SECONDS - 1] {
            let ticket = tickets.seal(SESSION, made).expect("random numbers");
            for (at, is_accepted) in [
                (begins - TICKET_PERIOD_SECONDS - 1, false),
                (begins - TICKET_PERIOD_SECONDS, true),
                (begins, true),
                (begins + TICKET_PERIOD_SECONDS - 1, true),
                (begins + TICKET_PERIOD_SECONDS, true),
                (begins + 2 * TICKET_PERIOD_SECONDS - 1, true),
                (begins + 2 * TICKET_PERIOD_SECONDS, false),
                (u64::MAX, false),
            ] {
                assert_eq!(tickets.open(&ticket, at).is_some(), is_accepted, "{made}, {at}");
            }
            assert!(made + u64::from(tickets.lifetime()) < begins + 2 * TICKET_PERIOD_SECONDS);
        }
    }

    #[test]
    fn two_secrets_are_accepted_while_one_replaces_the_other() {
        let (old, new) = (tickets("gateway", &["old"]), tickets("gateway", &["new"]));
        let both = tickets("gateway", &["new", "old"]);
        assert_eq!(both.open(&sealed(&old), NOW).as_deref(), Some(SESSION));
        assert_eq!(new.open(&sealed(&both), NOW).as_deref(), Some(SESSION));
        assert_eq!(old.open(&sealed(&both), NOW), None);
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_is_refused() {
        let tickets = tickets("gateway", &["secret"]);
        let ticket = sealed(&tickets);
        for at in 0..ticket.len() {
            for flip in [1, 0x80] {
                let mut changed = ticket.clone();
                changed[at] ^= flip;
                assert_eq!(tickets.open(&changed, NOW), None, "byte {at}");
            }
            assert_eq!(tickets.open(&ticket[..at], NOW), None, "{at} bytes");
        }
        assert_eq!(tickets.open(&[&*ticket, b"x"].concat(), NOW), None);
        assert_eq!(tickets.open(&vec![0; MAX_TICKET_BYTES + 1], NOW), None);
        let last = [&[0][..], &[0xff; 8], &ticket[9..]].concat();
        assert_eq!(tickets.open(&last, NOW), None);
        assert_eq!(tickets.open(&last, u64::MAX), None);
    }

    #[test]
    fn sessions_of_tls_1_2_get_no_ticket() {
        let tickets = tickets("gateway", &["secret"]);
        for (session, version_is_1_2) in [
            (&b"\0\x03\x03 more"[..], true),
            (b"\x01\x05a.com\x03\x03", true),
            (b"\0\x03\x04 more", false),
            (b"\x01\x05a.com\x03\x04", false),
            (b"\x01\xffa", false),
            (b"", false),
        ] {
            assert_eq!(tickets.encrypt(session).is_none(), version_is_1_2, "{session:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", tickets("a", &["b"])), r#"Tickets { service: "a", .. }"#);
    }

    proptest! {
        #[test]
        fn garbage_is_no_ticket(garbage: Vec<u8>) {
            let tickets = tickets("gateway", &["secret"]);
            prop_assert_eq!(tickets.decrypt(&garbage), None);
        }
    }
}
