//! Who asks: the part of a request that decides whether it is answered, and the answer if it is not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use campanile_edge::{Action, ApiKey, Incidents, Keys, PROXY_HEADERS, Peer, Principal, bearer};
use tokio::sync::watch;

use crate::access::{Access, Presented, Refused, Shown, Wanted, allow};
use crate::attempts::Attempts;
use crate::cookies;
use crate::origin::Marks;
use crate::sessions::{SessionId, Sessions};

/// The header in which the page proves with every change that it is its own session: other ports of the same host
/// get the cookie, too.
const PROOF: HeaderName = HeaderName::from_static("campanile-proof");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Decides about requests. Clones know the same sessions.
#[derive(Debug, Clone)]
pub struct Guard {
    access: Access,
    keys: watch::Receiver<Arc<Keys>>,
    is_sealed: bool,
    door: Arc<Mutex<Door>>,
    incidents: Incidents,
}

/// Those who have signed in, and those who have tried.
#[derive(Debug, Default)]
struct Door {
    sessions: Sessions,
    attempts: Attempts,
}

/// A request that may be answered, and whose it is.
#[derive(Debug, Clone)]
pub struct Admitted {
    key: Option<Arc<ApiKey>>,
    session: Option<SessionId>,
    /// How much longer its session lasts; `None` without one.
    pub left: Option<Duration>,
}

impl Admitted {
    /// The key; `None` where everybody is admitted.
    pub fn key(&self) -> Option<&Arc<ApiKey>> {
        self.key.as_ref()
    }

    /// Whether something may be changed.
    pub fn may_change(&self) -> bool {
        allow(self.key.as_deref(), Action::Manage).is_ok()
    }
}

/// A session that has begun.
#[derive(Debug)]
pub struct SignedIn {
    /// For the cookie.
    pub id: SessionId,
    /// What the page sends with every change, besides the cookie.
    pub proof: SessionId,
}

impl Guard {
    /// A guard that knows no session.
    pub(crate) fn new(access: Access, keys: watch::Receiver<Arc<Keys>>, is_sealed: bool) -> Self {
        Self { access, keys, is_sealed, door: Arc::default(), incidents: Incidents::default() }
    }

    /// What is logged of those who are refused.
    pub fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// Whether the listener speaks TLS.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Decides whether a request is answered: by the key in its `Authorization`, or by its session.
    ///
    /// # Errors
    /// The reason why not; [`refusal`] is the answer.
    pub fn check(&self, wanted: Wanted, request: &HttpRequest) -> Result<(), Refused> {
        self.admit(wanted, request).map(drop)
    }

    /// As [`check`](Self::check), and returns who asks, for the log: a key, or anyone.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub fn who(&self, wanted: Wanted, request: &HttpRequest) -> Result<Principal, Refused> {
        let admitted = self.admit(wanted, request)?;
        Ok(admitted.key.map_or(Principal::Anyone, |key| Principal::Key(Arc::clone(key.rights()))))
    }

    /// As [`check`](Self::check), and says who asks, and for how long.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub fn admit(&self, wanted: Wanted, request: &HttpRequest) -> Result<Admitted, Refused> {
        let headers = request.headers();
        let hosts = texts(request, header::HOST);
        let proxy = PROXY_HEADERS.into_iter().find(|name| headers.contains_key(*name));
        let key = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let keys = self.keys.borrow().clone();
        let session = self.session_of(request);
        let found = session.and_then(|id| self.door().sessions.find(&id, &keys, Instant::now()));
        let presented = match (&found, session) {
            (Some((key, _)), _) => Presented::Session(key),
            (None, Some(_)) => Presented::Over,
            (None, None) => Presented::Nothing,
        };
        let shown = Shown { hosts: &hosts, proxy, key, session: presented };
        let is_by_session = key.is_none() && found.is_some();
        let key = self.access.admit(wanted, shown, &keys);
        let key = key.map_err(|refused| match refused {
            Refused::UnknownKey => self.failed(request, refused),
            _ => refused,
        })?;
        if wanted == Wanted::Change && !self.marks(request, &hosts, |marks| marks.may_change()) {
            return Err(Refused::Origin);
        }
        let left = found.filter(|_| is_by_session && key.is_some()).map(|(_, left)| left);
        if let (Wanted::Change, Some(_), Some(id)) = (wanted, left, session) {
            let proof = texts(request, PROOF).first().copied().and_then(SessionId::read);
            if !proof.is_some_and(|proof| self.door().sessions.is_proof(&id, &proof)) {
                return Err(Refused::Unproven);
            }
        }
        Ok(Admitted { key, session: left.and(session), left })
    }

    /// As [`admit`](Self::admit), for a websocket, whose page must have the origin of this listener.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub fn admit_websocket(&self, request: &HttpRequest) -> Result<Admitted, Refused> {
        let admitted = self.admit(Wanted::Look, request)?;
        match self.marks(request, &texts(request, header::HOST), |marks| marks.may_open()) {
            true => Ok(admitted),
            false => Err(Refused::Origin),
        }
    }

    /// Whether somebody who was admitted may still look.
    ///
    /// # Errors
    /// The reason why not: the session is over, or the key is gone or has lost its scope.
    pub fn still(&self, admitted: &Admitted) -> Result<(), Refused> {
        let keys = self.keys.borrow().clone();
        let key = match (&admitted.session, &admitted.key) {
            (Some(id), _) => {
                let found = self.door().sessions.find(id, &keys, Instant::now());
                Some(found.ok_or(Refused::SessionOver)?.0)
            }
            (None, Some(key)) => Some(keys.current(key).ok_or(Refused::UnknownKey)?),
            (None, None) if keys.is_empty() => None,
            (None, None) => return Err(Refused::NoKey("read".to_owned())),
        };
        allow(key.as_deref(), Action::Observe)
    }

    /// Whether a request that shall change something is from a page of this listener.
    fn check_origin(&self, request: &HttpRequest) -> Result<(), Refused> {
        match self.marks(request, &texts(request, header::HOST), |marks| marks.may_change()) {
            true => Ok(()),
            false => Err(Refused::Origin),
        }
    }

    /// Begins a session for a key that allows to look. A right key begins one
    /// however many attempts have failed, because others may share the address.
    ///
    /// # Errors
    /// The reason why not.
    pub fn sign_in(&self, request: &HttpRequest, key: &[u8]) -> Result<SignedIn, Refused> {
        let keys = self.keys.borrow().clone();
        let unknown = if keys.is_empty() { Refused::Shut } else { Refused::UnknownKey };
        let found = keys.find(key).ok_or(unknown);
        let found = found.and_then(|key| allow(Some(&key), Action::Observe).map(|()| key));
        let key = found.map_err(|refused| self.failed(request, refused))?;
        let (id, proof) = (SessionId::new(rand::random()), SessionId::new(rand::random()));
        self.door().sessions.begin(id, proof, key, Instant::now());
        Ok(SignedIn { id, proof })
    }

    /// Whether a sign-in is from a page of this listener. To be asked before its key is read.
    ///
    /// # Errors
    /// [`Refused::Origin`], or [`Refused::TooOften`].
    pub fn check_sign_in(&self, request: &HttpRequest) -> Result<(), Refused> {
        self.check_origin(request).map_err(|refused| self.failed(request, refused))
    }

    /// Counts a failed attempt of an address. Returns what it is told: beyond the limit, no more than that.
    fn failed(&self, request: &HttpRequest, refused: Refused) -> Refused {
        let peer = Peer::of(request.peer_addr().map(|address| address.ip()));
        let now = Instant::now();
        let attempts = &mut self.door().attempts;
        match attempts.check(peer, now) {
            Ok(()) => {
                attempts.failed(peer, now);
                refused
            }
            Err(wait) => Refused::TooOften { wait },
        }
    }

    /// The name of the key of a session; `None` if there is no such session.
    pub fn name_of(&self, id: &SessionId) -> Option<String> {
        let keys = self.keys.borrow().clone();
        let (key, _) = self.door().sessions.find(id, &keys, Instant::now())?;
        Some(key.rights().name.clone())
    }

    /// Ends the session of a request, if it has one.
    ///
    /// # Errors
    /// [`Refused::Origin`].
    pub fn sign_out(&self, request: &HttpRequest) -> Result<(), Refused> {
        self.check_origin(request)?;
        if let Some(id) = self.session_of(request) {
            self.door().sessions.end(&id);
        }
        Ok(())
    }

    /// The name of the cookie for the host that a request names.
    pub fn cookie_name(&self, request: &HttpRequest, is_secure: bool) -> String {
        cookies::name(host(&texts(request, header::HOST)), is_secure)
    }

    /// The values of the cookie in a request.
    fn cookies<'a>(&self, request: &'a HttpRequest) -> Vec<&'a str> {
        let hosts = texts(request, header::HOST);
        cookies::values(&texts(request, header::COOKIE), host(&hosts), self.is_sealed)
    }

    /// The session that a request names; none if it names several.
    fn session_of(&self, request: &HttpRequest) -> Option<SessionId> {
        match self.cookies(request)[..] {
            [one] => SessionId::read(one),
            _ => None,
        }
    }

    /// Checks what a request says about where it comes from.
    fn marks(
        &self,
        request: &HttpRequest,
        hosts: &[&str],
        check: impl Fn(Marks<'_>) -> bool,
    ) -> bool {
        check(Marks {
            origins: &texts(request, header::ORIGIN),
            hosts,
            has_cookie: !self.cookies(request).is_empty(),
            has_key: request.headers().contains_key(header::AUTHORIZATION),
            is_of_browser: request.headers().contains_key(SEC_FETCH_SITE),
        })
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        // Every change is complete before anything can panic.
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host that a request names, if it is one.
fn host<'a>(hosts: &[&'a str]) -> Option<&'a str> {
    match hosts {
        [host] => Some(*host),
        _ => None,
    }
}

/// The values of a header. What is not text is no name of this host.
fn texts(request: &HttpRequest, name: HeaderName) -> Vec<&str> {
    request.headers().get_all(name).map(|value| value.to_str().unwrap_or("?")).collect()
}

/// The answer to a request that is refused.
pub fn refusal(refused: &Refused) -> HttpResponse {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = said(status, &refused.to_string());
    if let Refused::TooOften { wait } = refused {
        let after = HeaderValue::from(wait.as_secs() + 1);
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// An answer of one sentence.
pub fn said(status: StatusCode, sentence: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(format!("{sentence}\n"))
}
