use bytes::Bytes;
use campanile_messages::frame::{decode_answer, encode_answer, encode_hello, encode_proof};
use campanile_messages::hello::{Feature, Features, HelloAnswer, Offer};
use campanile_messages::link::Role;
use campanile_messages::{Hello, InstanceId};
use proptest::prelude::*;

use super::*;

const OLD: &str = "0123456789abcdef";
const NEW: &str = "fedcba9876543210";
const NONCE: Nonce = Nonce([7; 32]);

fn secrets(lines: &[&str]) -> Secrets {
    Secrets::read(lines.join("\n").as_bytes()).unwrap()
}

/// The frame of a publisher's offer.
fn offer() -> Bytes {
    let role = Role::Publisher { unanswered: 1 };
    let mut offer = Offer::ours(Hello { instance: InstanceId(1), role }, Nonce([9; 32]));
    // The features of one release, so that the bytes stay what they are.
    offer.features = Features::of([Feature::SECRET]);
    Bytes::copy_from_slice(encode_hello(&offer).payload())
}

/// The frame of the challenge of a broker with these secrets.
fn challenge_of(broker: &Secrets, offer: &[u8]) -> Bytes {
    let challenge = challenge(broker.first().unwrap(), offer, NONCE);
    Bytes::copy_from_slice(encode_answer(&HelloAnswer::Challenge(challenge)).payload())
}

/// What a caller with these secrets says to a challenge.
fn answer_of(caller: &Secrets, offer: &[u8], frame: &Bytes) -> Result<Proof, ProofError> {
    let Ok(HelloAnswer::Challenge(challenge)) = decode_answer(frame.clone()) else {
        panic!("not a challenge");
    };
    answer(caller, offer, &challenge, frame)
}

fn mac_of(hex: &str) -> Mac {
    let digit = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    Mac(std::array::from_fn(digit))
}

/// Computed by another implementation (Python's `hmac`), from the bytes in `golden.rs` of `messages`.
#[test]
fn the_bytes_of_both_proofs_do_not_change() {
    let (secrets, offer) = (secrets(&[OLD]), offer());
    let frame = challenge_of(&secrets, &offer);
    let by_broker = mac_of("dbf8cec6febf9701b0e4471ecbcf901d0fb161e3421b7ba5c48f1357f722b5e3");
    let by_caller = mac_of("903f80642c5a13a3d369b5b405d4d859840481c49b06b2935ecfbed65f0460c4");
    assert!(frame.ends_with(&by_broker.0), "{frame:x?}");
    let proof = answer_of(&secrets, &offer, &frame);
    assert_eq!(proof, Ok(Proof { proof: by_caller }));
    assert!(encode_proof(&proof.unwrap()).payload().ends_with(&by_caller.0));
}

#[test]
fn sides_that_share_a_secret_prove_it_whatever_comes_first() {
    let is_linked = |broker: &[&str], caller: &[&str]| {
        let (broker, offer) = (secrets(broker), offer());
        let frame = challenge_of(&broker, &offer);
        let proof = answer_of(&secrets(caller), &offer, &frame)?;
        Ok(is_proven(&broker, &offer, &frame, &proof))
    };
    for (broker, caller) in [
        (&[OLD][..], &[OLD][..]),
        (&[OLD], &[OLD, NEW]),
        (&[OLD], &[NEW, OLD]),
        (&[OLD, NEW], &[OLD]),
        (&[OLD, NEW], &[NEW, OLD]),
        (&[NEW, OLD], &[OLD, NEW]),
        (&[NEW, OLD], &[NEW]),
        (&[NEW], &[OLD, NEW]),
    ] {
        assert_eq!(is_linked(broker, caller), Ok(true), "{broker:?} {caller:?}");
    }
    for (broker, caller) in [(&[OLD][..], &[NEW][..]), (&[NEW, OLD], &[OLD]), (&[OLD, NEW], &[NEW])]
    {
        assert_eq!(is_linked(broker, caller), Err(ProofError::OtherSecret));
    }
}

#[test]
fn a_broker_takes_a_proof_by_either_of_its_secrets() {
    let (old, both, offer) = (secrets(&[OLD]), secrets(&[NEW, OLD]), offer());
    let frame = challenge_of(&old, &offer);
    let proof = answer_of(&old, &offer, &frame).unwrap();
    assert!(is_proven(&both, &offer, &frame, &proof));
    assert!(!is_proven(&secrets(&[NEW]), &offer, &frame, &proof));
    assert!(!is_proven(&Secrets::default(), &offer, &frame, &proof));
}

#[test]
fn a_caller_answers_no_method_that_it_does_not_know() {
    let (secrets, offer) = (secrets(&[OLD]), offer());
    let mut asked = challenge(secrets.first().unwrap(), &offer, NONCE);
    assert_eq!(answer(&Secrets::default(), &offer, &asked, b""), Err(ProofError::NoSecret));
    asked.method = "md5".to_owned();
    let error = answer(&secrets, &offer, &asked, b"").unwrap_err();
    assert_eq!(error, ProofError::Method { method: "md5".to_owned() });
    assert!(error.to_string().contains("\"md5\""), "{error}");
}

#[test]
fn a_proof_that_is_sent_back_is_worth_nothing() {
    let (secrets, offer) = (secrets(&[OLD]), offer());
    let asked = challenge(secrets.first().unwrap(), &offer, NONCE);
    let frame = challenge_of(&secrets, &offer);
    let reflected = Proof { proof: asked.proof };
    assert!(!is_proven(&secrets, &offer, &frame, &reflected));
    let proof = answer_of(&secrets, &offer, &frame).unwrap();
    let reflected = Challenge { proof: proof.proof, ..asked };
    assert_eq!(answer(&secrets, &offer, &reflected, &frame), Err(ProofError::OtherSecret));
}

#[test]
fn a_proof_of_another_link_is_worth_nothing() {
    let (secrets, offer) = (secrets(&[OLD]), offer());
    let frame = challenge_of(&secrets, &offer);
    let proof = answer_of(&secrets, &offer, &frame).unwrap();
    // The broker draws another nonce.
    let later = challenge(secrets.first().unwrap(), &offer, Nonce([6; 32]));
    let later = encode_answer(&HelloAnswer::Challenge(later));
    assert!(!is_proven(&secrets, &offer, later.payload(), &proof));
    // So does the caller.
    let again = offer.iter().map(|byte| if *byte == 9 { 8 } else { *byte }).collect::<Vec<_>>();
    assert_eq!(answer_of(&secrets, &again, &frame), Err(ProofError::OtherSecret));
}

proptest! {
    #[test]
    fn a_change_of_any_byte_is_noticed(at in any::<prop::sample::Index>(), change in 1..=255_u8) {
        let (secrets, offer) = (secrets(&[OLD]), offer());
        let frame = challenge_of(&secrets, &offer);
        let proof = answer_of(&secrets, &offer, &frame).unwrap();
        let mut bytes = [&offer[..], &frame, &proof.proof.0].concat();
        bytes[at.index(offer.len() + frame.len() + 32)] ^= change;
        let (offer, rest) = bytes.split_at(offer.len());
        let (frame, proof) = rest.split_at(frame.len());
        let proof = Proof { proof: Mac(proof.try_into().unwrap()) };
        prop_assert!(!is_proven(&secrets, offer, frame, &proof));
    }
}
