//! Whom a push is for: the rules about groups, users, connections and exceptions, which queries, forms and items
//! share. Pure.

use campanile_channel::publishing::Target;
use campanile_messages::{Address, Audience, ConnectionId, GroupName, UserName, WorkerId};

/// The parts of a target that a caller has given, by whatever names.
#[derive(Debug, Default)]
pub(super) struct GivenTarget {
    pub(super) group: Option<GroupName>,
    pub(super) user: Option<UserName>,
    pub(super) to: GivenAddress,
    pub(super) except: GivenAddress,
}

/// The parts of an address that a caller has given.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct GivenAddress {
    pub(super) worker: Option<WorkerId>,
    pub(super) connection: Option<ConnectionId>,
}

/// Why the parts that were given are not a target. Queries and items have sentences of their own for
/// this, with their own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidTarget {
    /// Two of a group, a user and at least half of an address.
    TwoAudiences(AudiencePart, AudiencePart),
    /// Only one of the two ids of an address.
    HalfAddress(AddressPart),
    /// A push to one connection with an exception.
    ExceptForConnection,
}

/// What says whom a push is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AudiencePart {
    Group,
    User,
    /// This half of an address, or both halves.
    Connection(AddressPart),
}

/// Half of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressPart {
    ToWorker,
    ToConnection,
    ExceptWorker,
    ExceptConnection,
}

impl AddressPart {
    /// Returns the other id of the same address.
    pub(super) fn other(self) -> Self {
        match self {
            Self::ToWorker => Self::ToConnection,
            Self::ToConnection => Self::ToWorker,
            Self::ExceptWorker => Self::ExceptConnection,
            Self::ExceptConnection => Self::ExceptWorker,
        }
    }
}

impl GivenTarget {
    /// Whether neither a group, nor a user, nor any part of an address is given.
    pub(super) fn is_for_everyone(&self) -> bool {
        self.group.is_none() && self.user.is_none() && self.to.is_missing()
    }

    /// Returns whom the push is for, and which connection it leaves out. Without a group, a user and an
    /// address, it is for everyone.
    pub(super) fn resolve(self) -> Result<(Target, Option<Address>), InvalidTarget> {
        let Self { group, user, to, except } = self;
        let two = |one, other| Err(InvalidTarget::TwoAudiences(one, other));
        let target = match (group, user, to.resolve(AddressPart::ToWorker)) {
            (None, None, Ok(None)) => Target::Audience(Audience::Everyone),
            (Some(group), None, Ok(None)) => Target::Audience(Audience::Group(group)),
            (None, Some(user), Ok(None)) => Target::Audience(Audience::User(user)),
            (None, None, Ok(Some(address))) => Target::Connection(address),
            (None, None, Err(part)) => return Err(InvalidTarget::HalfAddress(part)),
            (Some(_), Some(_), _) => return two(AudiencePart::Group, AudiencePart::User),
            (group, _, to) => {
                let one = group.map_or(AudiencePart::User, |_| AudiencePart::Group);
                let part = to.err().unwrap_or(AddressPart::ToWorker);
                return two(one, AudiencePart::Connection(part));
            }
        };
        let except = except.resolve(AddressPart::ExceptWorker);
        let except = except.map_err(InvalidTarget::HalfAddress)?;
        match (&target, except) {
            (Target::Connection(_), Some(_)) => Err(InvalidTarget::ExceptForConnection),
            _ => Ok((target, except)),
        }
    }
}

impl GivenAddress {
    pub(super) fn is_missing(&self) -> bool {
        self.worker.is_none() && self.connection.is_none()
    }

    /// Returns the address, or the half of it that was given.
    fn resolve(self, worker_part: AddressPart) -> Result<Option<Address>, AddressPart> {
        match (self.worker, self.connection) {
            (None, None) => Ok(None),
            (Some(worker), Some(connection)) => Ok(Some(Address { worker, connection })),
            (Some(_), None) => Err(worker_part),
            (None, Some(_)) => Err(worker_part.other()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_parts_is_a_target_or_an_error() {
        use AudiencePart::{Connection, Group, User};
        for parts in 0u8..64 {
            let has = |part: u8| parts & (1 << part) != 0;
            let address = |worker, connection| GivenAddress {
                worker: has(worker).then_some(WorkerId(u64::from(worker))),
                connection: has(connection).then_some(ConnectionId(u64::from(connection))),
            };
            let group = GroupName::new("news").expect("a name");
            let user = UserName::new("news").expect("a name");
            let given = GivenTarget {
                group: has(0).then(|| group.clone()),
                user: has(5).then(|| user.clone()),
                to: address(1, 2),
                except: address(3, 4),
            };
            let to = Address { worker: WorkerId(1), connection: ConnectionId(2) };
            let except = Address { worker: WorkerId(3), connection: ConnectionId(4) };
            let half = match (has(1), has(2)) {
                (false, true) => AddressPart::ToConnection,
                _ => AddressPart::ToWorker,
            };
            let target = match (has(0), has(5), has(1) || has(2)) {
                (false, false, false) => Ok(Target::Audience(Audience::Everyone)),
                (true, false, false) => Ok(Target::Audience(Audience::Group(group))),
                (false, true, false) => Ok(Target::Audience(Audience::User(user))),
                (false, false, true) if has(1) && has(2) => Ok(Target::Connection(to)),
                (false, false, true) => Err(InvalidTarget::HalfAddress(half)),
                (true, true, _) => Err(InvalidTarget::TwoAudiences(Group, User)),
                (true, false, true) => Err(InvalidTarget::TwoAudiences(Group, Connection(half))),
                (false, true, true) => Err(InvalidTarget::TwoAudiences(User, Connection(half))),
            };
            let expected = target.and_then(|target| match (has(3), has(4)) {
                (false, false) => Ok((target, None)),
                (true, false) => Err(InvalidTarget::HalfAddress(AddressPart::ExceptWorker)),
                (false, true) => Err(InvalidTarget::HalfAddress(AddressPart::ExceptConnection)),
                _ if target.address().is_some() => Err(InvalidTarget::ExceptForConnection),
                _ => Ok((target, Some(except))),
            });
            assert_eq!(given.resolve(), expected, "{parts:06b}");
        }
    }
}
