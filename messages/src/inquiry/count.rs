//! How many values are in MessagePack, before any memory is taken for them.

use rmp::Marker;

/// Counts the values, those within lists and maps included. Of bytes that are no MessagePack, some number.
pub fn count(mut bytes: &[u8]) -> usize {
    let mut values = 0;
    while let Some((&first, rest)) = bytes.split_first() {
        values += 1;
        let length = |width: usize| {
            let digits = rest.get(..width).unwrap_or(rest);
            let length =
                digits.iter().fold(0usize, |length, digit| length << 8 | usize::from(*digit));
            width.saturating_add(length)
        };
        let skipped = match Marker::from_u8(first) {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                0
            }
            Marker::FixArray(_) | Marker::FixMap(_) | Marker::Reserved => 0,
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 | Marker::Array16 | Marker::Map16 | Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 | Marker::Array32 | Marker::Map32 => 4,
            Marker::FixExt4 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::FixStr(length) => length.into(),
            Marker::Str8 | Marker::Bin8 => length(1),
            Marker::Str16 | Marker::Bin16 => length(2),
            Marker::Str32 | Marker::Bin32 => length(4),
            Marker::Ext8 => length(1).saturating_add(1),
            Marker::Ext16 => length(2).saturating_add(1),
            Marker::Ext32 => length(4).saturating_add(1),
        };
        bytes = rest.get(skipped..).unwrap_or_default();
    }
    values
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_values_of_every_type_are_counted() {
        let packed = |value: &dyn Fn() -> Result<Vec<u8>, rmp_serde::encode::Error>| {
            count(&value().expect("MessagePack"))
        };
        for number in [0, 200, 70_000, 5_000_000_000u64] {
            assert_eq!(packed(&|| rmp_serde::to_vec(&(number, -(number as i64)))), 3, "{number}");
        }
        assert_eq!(packed(&|| rmp_serde::to_vec(&(1.5f32, 1.5f64, true, ()))), 5);
        for len in [0, 31, 32, 255, 256, 70_000] {
            assert_eq!(packed(&|| rmp_serde::to_vec(&("x".repeat(len), 1))), 3, "{len}");
        }
        for len in [0, 15, 16, 70_000usize] {
            assert_eq!(packed(&|| rmp_serde::to_vec(&vec![7; len])), 1 + len);
            let map: BTreeMap<_, _> = (0..len).map(|n| (n, ())).collect();
            assert_eq!(packed(&|| rmp_serde::to_vec(&map)), 1 + 2 * len);
        }
        assert_eq!(count(&[]), 0);
        // Lengths that are only claims.
        assert_eq!(count(&[0xdb, 0xff, 0xff, 0xff, 0xff, 1]), 1);
        assert_eq!(count(&[0xc6, 0xff]), 1);
    }
}
