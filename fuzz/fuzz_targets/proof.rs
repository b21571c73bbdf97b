//! What a stranger sends to a side of a link that has a secret: nothing of it is ever taken for a proof.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use campanile_channel::{Secrets, proof};
use campanile_messages::frame::{decode_answer, decode_hello, decode_proof, encode_answer};
use campanile_messages::hello::{HelloAnswer, Mac, Nonce, Proof};
use libfuzzer_sys::fuzz_target;

static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
    Secrets::read(b"a secret of the fuzz target\nanother one of the target\n").expect("two secrets")
});

fuzz_target!(|data: &[u8]| {
    // Text that should be secrets.
    if let Ok(secrets) = Secrets::read(data) {
        assert!((1..=2).contains(&secrets.iter().count()));
        assert!(secrets.iter().all(|secret| (16..=1_024).contains(&secret.expose().len())));
    }
    let Some((&at, data)) = data.split_first() else {
        return;
    };
    let (offer, said) = data.split_at(data.len().min(usize::from(at)));
    let offer = Bytes::copy_from_slice(offer);
    let _ = decode_hello(offer.clone());

    // To a broker: whatever the offer was, only the right proof is one.
    let first = SECRETS.first().expect("there are two");
    let challenge = proof::challenge(first, &offer, Nonce([at; 32]));
    let frame = encode_answer(&HelloAnswer::Challenge(challenge.clone()));
    let frame = Bytes::copy_from_slice(frame.payload());
    let right = proof::answer(&SECRETS, &offer, &challenge, &frame).expect("the same secret");
    assert!(proof::is_proven(&SECRETS, &offer, &frame, &right));
    if let Ok(proof) = decode_proof(Bytes::copy_from_slice(said)) {
        assert_eq!(proof::is_proven(&SECRETS, &offer, &frame, &proof), proof == right);
    }
    if let Some(bytes) = said.first_chunk::<32>() {
        let mut mac = right.proof.0;
        mac.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
        let proof = Proof { proof: Mac(mac) };
        assert_eq!(proof::is_proven(&SECRETS, &offer, &frame, &proof), bytes == &[0; 32]);
    }

    // To a caller: it answers no challenge that the broker could not make.
    let frame = Bytes::copy_from_slice(said);
    if let Ok(HelloAnswer::Challenge(challenge)) = decode_answer(frame.clone()) {
        assert!(proof::answer(&SECRETS, &offer, &challenge, &frame).is_err());
    }
});
