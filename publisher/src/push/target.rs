//! Whom a push is for: the rules about groups, connections and exceptions, which queries, forms and items
//! share. Pure.

use campanile_channel::publishing::Target;
use campanile_messages::{Address, Audience, ConnectionId, GroupName, WorkerId};

/// The parts of a target that a caller has given, by whatever names.
#[derive(Debug, Default)]
pub(super) struct GivenTarget {
    pub(super) group: Option<GroupName>,
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
    /// A group and at least this half of an address.
    TwoAudiences(AddressPart),
    /// Only one of the two ids of an address.
    HalfAddress(AddressPart),
    /// A push to one connection with an exception.
    ExceptForConnection,
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
    /// Whether neither a group nor any part of an address is given.
    pub(super) fn is_for_everyone(&self) -> bool {
        self.group.is_none() && self.to.is_missing()
    }

    /// Returns whom the push is for, and which connection it leaves out. Without a group and an
    /// address, it is for everyone.
    pub(super) fn resolve(self) -> Result<(Target, Option<Address>), InvalidTarget> {
        let Self { group, to, except } = self;
        let to = to.resolve(AddressPart::ToWorker);
        let target = match (group, to) {
            (None, Ok(None)) => Target::Audience(Audience::Everyone),
            (Some(group), Ok(None)) => Target::Audience(Audience::Group(group)),
            (None, Ok(Some(address))) => Target::Connection(address),
            (Some(_), Ok(Some(_))) => {
                return Err(InvalidTarget::TwoAudiences(AddressPart::ToWorker));
            }
            (Some(_), Err(part)) => return Err(InvalidTarget::TwoAudiences(part)),
            (None, Err(part)) => return Err(InvalidTarget::HalfAddress(part)),
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
        for parts in 0u8..32 {
            let has = |part: u8| parts & (1 << part) != 0;
            let address = |worker, connection| GivenAddress {
                worker: has(worker).then_some(WorkerId(u64::from(worker))),
                connection: has(connection).then_some(ConnectionId(u64::from(connection))),
            };
            let group = GroupName::new("news").expect("a name");
            let given = GivenTarget {
                group: has(0).then(|| group.clone()),
                to: address(1, 2),
                except: address(3, 4),
            };
            let to = Address { worker: WorkerId(1), connection: ConnectionId(2) };
            let except = Address { worker: WorkerId(3), connection: ConnectionId(4) };
            let target = match (has(0), has(1), has(2)) {
                (false, false, false) => Ok(Target::Audience(Audience::Everyone)),
                (true, false, false) => Ok(Target::Audience(Audience::Group(group))),
                (false, true, true) => Ok(Target::Connection(to)),
                (false, true, false) => Err(InvalidTarget::HalfAddress(AddressPart::ToWorker)),
                (false, false, true) => Err(InvalidTarget::HalfAddress(AddressPart::ToConnection)),
                (true, true, _) => Err(InvalidTarget::TwoAudiences(AddressPart::ToWorker)),
                (true, false, true) => Err(InvalidTarget::TwoAudiences(AddressPart::ToConnection)),
            };
            let expected = target.and_then(|target| match (has(3), has(4)) {
                (false, false) => Ok((target, None)),
                (true, false) => Err(InvalidTarget::HalfAddress(AddressPart::ExceptWorker)),
                (false, true) => Err(InvalidTarget::HalfAddress(AddressPart::ExceptConnection)),
                _ if target.address().is_some() => Err(InvalidTarget::ExceptForConnection),
                _ => Ok((target, Some(except))),
            });
            assert_eq!(given.resolve(), expected, "{parts:05b}");
        }
    }
}
