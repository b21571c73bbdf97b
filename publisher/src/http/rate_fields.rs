//! The fields `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11). Pure.

use std::time::{Duration, Instant};

use campanile_edge::{Meter, Rate};

use crate::courier::error::seconds;

/// Returns the value of `RateLimit-Policy`: at most `q` pushes within `w` seconds. The draft counts in
/// whole seconds, so a burst that is smaller than what is allowed in a second is not in it.
pub(super) fn policy(rate: Rate) -> String {
    let window = rate.burst().div_ceil(rate.per_second());
    let quota = rate.burst().max(rate.per_second());
    format!("\"pushes\";q={quota};w={window}")
}

/// Returns the value of `RateLimit`: `r` pushes are left, and within `t` seconds it will be all again, or
/// the next one if none is left.
pub(super) fn limit(meter: &Meter, now: Instant) -> String {
    let (left, full_in) = meter.left(now);
    let next = Duration::from_secs(1) / meter.rate().per_second();
    let t = match left {
        0 => seconds(next),
        _ if full_in.is_zero() => 0,
        _ => seconds(full_in),
    };
    format!("\"pushes\";r={left};t={t}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_say_what_is_allowed_and_what_is_left() {
        let policy_of = |per_second, burst| policy(Rate::new(per_second, burst));
        assert_eq!(policy_of(100, 100), "\"pushes\";q=100;w=1");
        assert_eq!(policy_of(100, 250), "\"pushes\";q=250;w=3");
        assert_eq!(policy_of(100, 1), "\"pushes\";q=100;w=1");
        let (meter, now) = (Meter::new(Rate::new(1, 2)), Instant::now());
        for said in ["r=2;t=0", "r=1;t=1", "r=0;t=1"] {
            assert_eq!(limit(&meter, now), format!("\"pushes\";{said}"));
            let _ = meter.take(now);
        }
        assert_eq!(limit(&meter, now + Duration::from_millis(1_500)), "\"pushes\";r=1;t=1");
    }
}
