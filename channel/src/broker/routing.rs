//! The routing table: which links want the events of which audience. Pure.

use std::collections::{HashMap, HashSet, hash_set};
use std::fmt;

use campanile_messages::Audience;

/// The broker's number for a link. Never given to another link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkNumber(pub u64);

impl fmt::Display for LinkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link wants more audiences than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interest in more than {max} audiences")]
pub struct TooManyAudiences {
    /// The most audiences of a link.
    pub max: usize,
}

/// The most audiences of a lost link that are forgotten in one turn, which takes about 60 ms. The rest
/// follow in the next turns.
const MAX_FORGOTTEN: usize = 50_000;

/// Which links want which audiences. A link reports its interest before it goes live.
#[derive(Debug)]
pub struct Routing {
    /// For each audience the links, sorted by number, and how many connections each has. No list is empty.
    by_audience: HashMap<Audience, Vec<(LinkNumber, u32)>>,
    /// For each link its audiences, so that only these are looked at when the link is lost.
    by_link: HashMap<LinkNumber, Interests>,
    /// The link that was lost last, and its audiences that are still in `by_audience`. Nothing is sent to
    /// it, because it is not in `by_link`.
    leaving: Option<(LinkNumber, hash_set::IntoIter<Audience>)>,
    max_audiences: usize,
}

#[derive(Debug, Default)]
struct Interests {
    audiences: HashSet<Audience>,
    live: bool,
}

impl Routing {
    /// An empty table for up to `max_audiences` per link.
    pub fn new(max_audiences: usize) -> Self {
        Self { by_audience: HashMap::new(), by_link: HashMap::new(), leaving: None, max_audiences }
    }

    /// Notes how many connections of a link listen to an audience. `Some(0)` is interest too; `None`
    /// withdraws it.
    ///
    /// # Errors
    /// [`TooManyAudiences`]; nothing has changed then.
    pub fn set(
        &mut self,
        link: LinkNumber,
        audience: Audience,
        connections: Option<u32>,
    ) -> Result<(), TooManyAudiences> {
        let Some(connections) = connections else {
            self.withdraw(link, &audience);
            return Ok(());
        };
        let interests = self.by_link.entry(link).or_default();
        if interests.audiences.len() >= self.max_audiences
            && !interests.audiences.contains(&audience)
        {
            return Err(TooManyAudiences { max: self.max_audiences });
        }
        interests.audiences.insert(audience.clone());
        let links = self.by_audience.entry(audience).or_default();
        match links.binary_search_by_key(&link, |(link, _)| *link) {
            Ok(at) => links[at].1 = connections,
            Err(at) => links.insert(at, (link, connections)),
        }
        Ok(())
    }

    /// From now on, [`links`](Self::links) returns this link too.
    pub fn go_live(&mut self, link: LinkNumber) {
        self.by_link.entry(link).or_default().live = true;
    }

    /// Whether a link wants the events of an audience, even if it is not live yet.
    pub fn wants(&self, link: LinkNumber, audience: &Audience) -> bool {
        self.by_link.get(&link).is_some_and(|interests| interests.audiences.contains(audience))
    }

    /// The audiences that a link wants.
    pub fn audiences(&self, link: LinkNumber) -> impl Iterator<Item = &Audience> {
        self.by_link.get(&link).into_iter().flat_map(|interests| &interests.audiences)
    }

    /// The live links that want an audience, each once, in the order of their numbers.
    pub fn links(&self, audience: &Audience) -> Vec<LinkNumber> {
        self.live(audience).map(|(link, _)| link).collect()
    }

    /// How many live links have connections that listen to an audience, and how many connections those
    /// are, as the gateways reported them.
    pub fn count(&self, audience: &Audience) -> (u32, u64) {
        self.live(audience).fold((0, 0), |(gateways, matched), (_, connections)| {
            (gateways + u32::from(connections > 0), matched + u64::from(connections))
        })
    }

    fn live(&self, audience: &Audience) -> impl Iterator<Item = (LinkNumber, u32)> {
        let links = self.by_audience.get(audience).into_iter().flatten().copied();
        links.filter(|(link, _)| self.by_link.get(link).is_some_and(|of_link| of_link.live))
    }

    /// Removes a link. Its audiences are forgotten over several turns.
    pub fn remove(&mut self, link: LinkNumber) {
        // Links that are lost one right after the other must not pile up.
        self.forget_leaving(usize::MAX);
        let interests = self.by_link.remove(&link).unwrap_or_default();
        self.leaving = Some((link, interests.audiences.into_iter()));
        self.tick();
    }

    /// Forgets more audiences of a lost link, if there are any.
    pub fn tick(&mut self) {
        self.forget_leaving(MAX_FORGOTTEN);
    }

    fn forget_leaving(&mut self, max: usize) {
        let Some((link, mut audiences)) = self.leaving.take() else {
            return;
        };
        audiences.by_ref().take(max).for_each(|audience| self.forget(link, &audience));
        if audiences.len() > 0 {
            self.leaving = Some((link, audiences));
        } else if self.by_audience.capacity() > 4 * self.by_audience.len() {
            // The memory of a hundred thousand groups is not kept for the few that are left.
            self.by_audience.shrink_to(2 * self.by_audience.len());
        }
    }

    fn withdraw(&mut self, link: LinkNumber, audience: &Audience) {
        if let Some(interests) = self.by_link.get_mut(&link)
            && interests.audiences.remove(audience)
        {
            self.forget(link, audience);
        }
    }

    fn forget(&mut self, link: LinkNumber, audience: &Audience) {
        if let Some(links) = self.by_audience.get_mut(audience) {
            links.retain(|(other, _)| *other != link);
            if links.is_empty() {
                self.by_audience.remove(audience);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use campanile_messages::GroupName;
    use proptest::prelude::*;

    use super::*;

    const A: LinkNumber = LinkNumber(1);
    const B: LinkNumber = LinkNumber(2);

    fn group(name: &str) -> Audience {
        Audience::Group(GroupName::new(name.to_owned()).unwrap())
    }

    fn route(routing: &Routing, audience: &Audience) -> (Vec<LinkNumber>, u32, u64) {
        let (gateways, matched) = routing.count(audience);
        (routing.links(audience), gateways, matched)
    }

    #[test]
    fn a_link_without_connections_gets_events_uncounted() {
        let mut routing = Routing::new(10);
        routing.set(A, group("news"), Some(0)).unwrap();
        routing.set(B, group("news"), Some(3)).unwrap();
        routing.go_live(A);
        routing.go_live(B);
        assert_eq!(route(&routing, &group("news")), (vec![A, B], 1, 3));
        assert_eq!(route(&routing, &group("other")), (vec![], 0, 0));
    }

    #[test]
    fn a_link_that_is_not_live_gets_no_events() {
        let mut routing = Routing::new(10);
        routing.set(A, Audience::Everyone, Some(3)).unwrap();
        assert!(routing.wants(A, &Audience::Everyone));
        assert_eq!(route(&routing, &Audience::Everyone), (vec![], 0, 0));
    }

    #[test]
    fn only_new_audiences_above_the_bound_are_refused() {
        let mut routing = Routing::new(2);
        routing.set(A, group("1"), Some(1)).unwrap();
        routing.set(A, group("2"), Some(1)).unwrap();
        assert_eq!(routing.set(A, group("3"), Some(1)), Err(TooManyAudiences { max: 2 }));
        assert_eq!(routing.set(A, group("2"), Some(5)), Ok(()));
        assert_eq!(routing.set(B, group("3"), Some(1)), Ok(()));
        assert_eq!(routing.set(A, group("1"), None), Ok(()));
        assert_eq!(routing.set(A, group("3"), Some(1)), Ok(()));
    }

    #[test]
    fn nothing_is_left_of_a_link_that_is_removed() {
        let mut routing = Routing::new(1_000);
        for name in 0..1_000 {
            routing.set(A, group(&name.to_string()), Some(1)).unwrap();
        }
        routing.remove(A);
        routing.remove(A);
        assert!(routing.by_audience.is_empty() && routing.by_link.is_empty());
        assert!(routing.by_audience.capacity() < 10);
    }

    #[test]
    fn a_link_with_very_many_audiences_is_forgotten_in_turns() {
        let len = MAX_FORGOTTEN + 10;
        let mut routing = Routing::new(len);
        for name in 0..len {
            routing.set(A, group(&name.to_string()), Some(1)).unwrap();
        }
        routing.go_live(A);
        routing.remove(A);
        assert_eq!(routing.by_audience.len(), 10);
        let left = routing.by_audience.keys().next().unwrap().clone();
        assert_eq!(route(&routing, &left), (vec![], 0, 0));
        // Another link wants it in the meantime, and keeps it.
        routing.set(B, left.clone(), Some(2)).unwrap();
        routing.go_live(B);
        routing.tick();
        assert_eq!(route(&routing, &left), (vec![B], 1, 2));
        assert_eq!(routing.by_audience.len(), 1);
    }

    #[test]
    fn lost_links_do_not_pile_up() {
        let len = MAX_FORGOTTEN + 10;
        let mut routing = Routing::new(len);
        for link in [A, B] {
            for name in 0..len {
                routing.set(link, group(&name.to_string()), Some(1)).unwrap();
            }
        }
        routing.remove(A);
        routing.remove(B);
        assert_eq!(routing.by_audience.len(), 10);
        assert!(routing.by_audience.values().all(|links| links[..] == [(B, 1)]));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u64, u8, Option<u32>),
        GoLive(u64),
        Remove(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u64..4, 0u8..6, prop::option::of(0u32..5)).prop_map(|(l, a, n)| Step::Set(l, a, n)),
            2 => (0u64..4).prop_map(Step::GoLive),
            1 => (0u64..4).prop_map(Step::Remove),
        ]
    }

    proptest! {
        /// The model is a plain map of what was set, which is searched as a whole.
        #[test]
        fn an_event_goes_once_to_every_live_link_that_wants_it(
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let mut routing = Routing::new(100);
            let mut model = BTreeMap::new();
            let mut live = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Set(link, name, connections) => {
                        let link = LinkNumber(link);
                        routing.set(link, group(&name.to_string()), connections).unwrap();
                        match connections {
                            Some(n) => model.insert((name, link), n),
                            None => model.remove(&(name, link)),
                        };
                    }
                    Step::GoLive(link) => {
                        routing.go_live(LinkNumber(link));
                        live.insert(LinkNumber(link));
                    }
                    Step::Remove(link) => {
                        let link = LinkNumber(link);
                        routing.remove(link);
                        model.retain(|(_, other), _| *other != link);
                        live.remove(&link);
                    }
                }
                for name in 0..6 {
                    let wanted: Vec<_> = model
                        .iter()
                        .filter(|((n, link), _)| *n == name && live.contains(link))
                        .map(|((_, link), n)| (*link, *n))
                        .collect();
                    let links: Vec<_> = wanted.iter().map(|(link, _)| *link).collect();
                    let gateways = wanted.iter().filter(|(_, n)| *n > 0).count() as u32;
                    let matched = wanted.iter().map(|(_, n)| u64::from(*n)).sum();
                    prop_assert_eq!(
                        route(&routing, &group(&name.to_string())),
                        (links, gateways, matched)
                    );
                }
            }
        }
    }
}
