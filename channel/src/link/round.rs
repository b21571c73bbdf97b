//! Which broker is tried next. In a round, each one is tried once, in random order. Pure: the caller brings the
//! randomness, and looks names up.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use rand::Rng;
use rand::seq::SliceRandom as _;

use super::brokers::Brokers;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 64;

/// What to do next in a round.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look up the addresses of a name.
    LookUp(String),
    /// Connect to a broker.
    Try(Target),
    /// Every broker was tried.
    Over,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name, `HOST:PORT`, as it was given.
    pub name: String,
    /// Its addresses: one, or one for each version of IP, in the order in which to try them.
    pub addresses: Vec<SocketAddr>,
    /// Whether its name has other brokers, too.
    pub shares_name: bool,
}

impl Target {
    fn overlaps(&self, other: &Self) -> bool {
        self.addresses.iter().any(|address| other.addresses.contains(address))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses.first() {
            Some(address) if self.shares_name => write!(f, "{} ({address})", self.name),
            _ => f.write_str(&self.name),
        }
    }
}

/// One attempt at each broker.
#[derive(Debug)]
pub(super) struct Round {
    /// What was not looked up yet.
    names: VecDeque<String>,
    /// Those of the name that was looked up last.
    targets: VecDeque<Target>,
    /// Left out.
    lost: Option<Target>,
}

impl Round {
    /// A round that leaves out the broker whose link was `lost`: it has had its turn.
    pub(super) fn new(brokers: &Brokers, lost: Option<Target>, random: &mut impl Rng) -> Self {
        let mut names = brokers.addresses().to_vec();
        names.shuffle(random);
        Self { names: names.into(), targets: VecDeque::new(), lost }
    }

    /// What comes next.
    pub(super) fn next(&mut self) -> Step {
        if let Some(target) = self.targets.pop_front() {
            return Step::Try(target);
        }
        self.names.pop_front().map_or(Step::Over, Step::LookUp)
    }

    /// These are the addresses of the name that was to be looked up. A host may have one for each version of IP;
    /// where there are more, each is a broker.
    pub(super) fn found(
        &mut self,
        name: String,
        addresses: impl IntoIterator<Item = SocketAddr>,
        random: &mut impl Rng,
    ) {
        let mut found = Vec::new();
        for address in addresses {
            if found.len() < MAX_ADDRESSES && !found.contains(&address) {
                found.push(address);
            }
        }
        let of_v4 = found.iter().filter(|address| address.is_ipv4()).count();
        let mut targets = if of_v4 <= 1 && found.len() - of_v4 <= 1 {
            vec![Target { name, addresses: found, shares_name: false }]
        } else {
            let target = |address| Target {
                name: name.clone(),
                addresses: vec![address],
                shares_name: true,
            };
            found.into_iter().map(target).collect()
        };
        targets.shuffle(random);
        targets.retain(|target| self.lost.as_ref().is_none_or(|lost| !target.overlaps(lost)));
        self.targets = targets.into();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn brokers(names: &[&str]) -> Brokers {
        names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into()
    }

    /// Goes through a round in which each name has the addresses that `look_up` returns.
    fn tried(
        names: &[&str],
        lost: Option<Target>,
        seed: u64,
        look_up: impl Fn(&str) -> Vec<SocketAddr>,
    ) -> Vec<Target> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut round = Round::new(&brokers(names), lost, &mut random);
        let mut tried = Vec::new();
        loop {
            match round.next() {
                Step::LookUp(name) => {
                    let found = look_up(&name);
                    round.found(name, found, &mut random);
                }
                Step::Try(target) => tried.push(target),
                Step::Over => return tried,
            }
        }
    }

    fn parse(address: &str) -> Vec<SocketAddr> {
        vec![address.parse().unwrap()]
    }

    fn many(_: &str) -> Vec<SocketAddr> {
        ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"].map(|a| a.parse().unwrap()).into()
    }

    #[test]
    fn each_broker_is_tried_once_and_any_may_be_the_first() {
        let names = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"];
        for (names, look_up) in
            [(&names[..], parse as fn(&str) -> Vec<SocketAddr>), (&["brokers:1"], many)]
        {
            let mut firsts = BTreeSet::new();
            for seed in 0..100 {
                let tried = tried(names, None, seed, look_up);
                let addresses: BTreeSet<_> = tried.iter().map(|t| t.addresses.clone()).collect();
                assert_eq!((tried.len(), addresses.len()), (3, 3));
                firsts.insert(tried[0].addresses.clone());
            }
            assert_eq!(firsts.len(), 3);
        }
    }

    #[test]
    fn a_broker_whose_link_was_lost_waits_for_the_next_round() {
        let one = &tried(&["brokers:1"], None, 7, many)[0];
        let others = tried(&["brokers:1"], Some(one.clone()), 7, many);
        assert!(others.len() == 2 && !others.contains(one), "{others:?}");
        let lost = Some(tried(&["10.0.0.1:1"], None, 7, parse).remove(0));
        assert_eq!(tried(&["10.0.0.1:1"], lost, 7, parse), []);
    }

    #[test]
    fn a_host_with_an_address_of_each_version_is_one_broker() {
        let both = |_: &str| ["[::1]:1", "127.0.0.1:1"].map(|a| a.parse().unwrap()).into();
        for seed in 0..10 {
            let tried = tried(&["localhost:1"], None, seed, both);
            assert_eq!((tried.len(), &tried[0].addresses), (1, &both("")));
            assert_eq!((tried[0].shares_name, &*tried[0].to_string()), (false, "localhost:1"));
        }
        let one = &tried(&["brokers:1"], None, 7, many)[0];
        assert_eq!(one.to_string(), format!("brokers:1 ({})", one.addresses[0]));
    }
}
