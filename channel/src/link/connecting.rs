//! Connects to a broker: TLS, hello, proof and welcome.

use bytes::Bytes;
use campanile_messages::frame::{decode_answer, encode_hello, encode_proof};
use campanile_messages::hello::{Feature, Features, HelloAnswer, Nonce, Offer};
use campanile_messages::link::Welcome;
use campanile_messages::{DecodeError, FromBroker, Hello};
use tokio::net::TcpStream;

use super::proof::{self, ProofError};
use super::round::Target;
use super::secrets::Secrets;
use super::secure::{LinkTls, seal};
use super::{FrameReader, LinkError, LinkStream, WriteHalf, prepare};

/// A link that the broker has welcomed, and that its owner does not know yet.
pub(super) struct Connected {
    pub write: WriteHalf,
    pub reader: FrameReader,
    /// What both ends can do.
    pub features: Features,
    pub welcome: Welcome,
    /// Messages that came along with the welcome.
    pub first: Vec<FromBroker>,
}

/// Connects to a broker, says hello and waits for the welcome.
///
/// # Errors
/// The connection cannot be made, or the broker gives no welcome. See [`LinkError`].
pub(super) async fn connect(
    broker: &Target,
    tls: Option<&LinkTls>,
    hello: &Hello,
    secrets: &Secrets,
) -> Result<Connected, LinkError> {
    let stream = TcpStream::connect(&*broker.addresses).await?;
    prepare(&stream)?;
    let stream = match tls {
        None => LinkStream::Plain(stream),
        Some(tls) => seal(stream, &broker.name, tls).await?,
    };
    let (read, mut write) = stream.into_split();
    let mut reader = FrameReader::new(read);
    let mut offer = Offer::ours(hello.clone(), Nonce(rand::random()));
    if !secrets.is_empty() {
        offer.features = offer.features.with(Feature::SECRET);
    }
    let offer = encode_hello(&offer);
    write.send(&offer.head).await?;
    let (mut answer, mut first) = answer(&mut reader).await?;
    let mut is_proven = secrets.is_empty();
    if let (frame, HelloAnswer::Challenge(challenge)) = &answer {
        let proof = proof::answer(secrets, offer.payload(), challenge, frame)?;
        if !first.is_empty() {
            let reason = "frames between a challenge and its answer".to_owned();
            return Err(DecodeError::Malformed(reason).into());
        }
        write.send(&encode_proof(&proof).head).await?;
        (answer, first) = self::answer(&mut reader).await?;
        is_proven = true;
    }
    let (agreement, welcome) = match answer.1 {
        HelloAnswer::Welcome { .. } if !is_proven => return Err(ProofError::Unproven.into()),
        HelloAnswer::Welcome { agreement, welcome } => (agreement.accept()?, welcome),
        HelloAnswer::Challenge(_) => {
            return Err(DecodeError::Malformed("a second challenge".to_owned()).into());
        }
        HelloAnswer::Refused { reason } => return Err(LinkError::Goodbye(reason)),
    };
    let first = first.into_iter().map(FromBroker::decode).collect::<Result<_, _>>()?;
    Ok(Connected { write, reader, features: agreement.features, welcome, first })
}

/// The broker's next answer, with its frame and the frames that came along.
async fn answer(reader: &mut FrameReader) -> Result<((Bytes, HelloAnswer), Vec<Bytes>), LinkError> {
    let mut frames = reader.next_batch().await.map_err(or_alert)?;
    let frame = frames.remove(0);
    let answer = decode_answer(frame.clone())?;
    Ok(((frame, answer), frames))
}

/// Recognises an alert of TLS (its type, its version and its length), which was read as the length of a
/// frame.
fn or_alert(error: LinkError) -> LinkError {
    match error {
        LinkError::Decode(DecodeError::TooLarge { len_bytes, .. })
            if len_bytes >> 8 & 0xff_ff00 == 0x15_0300 =>
        {
            LinkError::SpeaksTls
        }
        error => error,
    }
}
