//! Quantities against Kubernetes' own examples, and against exact arithmetic.

use proptest::prelude::*;

use super::*;

fn nanos(text: &str) -> i128 {
    Quantity::parse(text).expect(text).nanos()
}

#[test]
fn every_form_means_what_kubernetes_means() {
    for (text, expected_nanos, canonical) in [
        ("0", 0, "0"),
        ("0Ki", 0, "0"),
        ("1", NANOS, "1"),
        ("+1", NANOS, "1"),
        ("-1", -NANOS, "-1"),
        ("1.", NANOS, "1"),
        (".5", NANOS / 2, "500m"),
        ("0.5", NANOS / 2, "500m"),
        ("100m", NANOS / 10, "100m"),
        ("1000m", NANOS, "1"),
        ("1n", 1, "1n"),
        ("0.1n", 1, "1n"),
        ("-0.1n", -1, "-1n"),
        ("1u", 1_000, "1u"),
        ("1k", 1_000 * NANOS, "1k"),
        ("1500k", 1_500_000 * NANOS, "1500k"),
        ("1M", 1_000_000 * NANOS, "1M"),
        ("1Ki", 1024 * NANOS, "1Ki"),
        ("1Gi", (1 << 30) * NANOS, "1Gi"),
        ("1024Mi", (1 << 30) * NANOS, "1Gi"),
        ("0.5Gi", (1 << 29) * NANOS, "512Mi"),
        ("1.5Ki", 1536 * NANOS, "1536"),
        ("0.5Ki", 512 * NANOS, "512"),
        ("1Ei", (1 << 60) * NANOS, "1Ei"),
        ("1E", 1_000_000_000_000_000_000 * NANOS, "1E"),
        ("9Ei", MOST_NANOS, "9223372036854775807"),
        ("999E", MOST_NANOS, "9223372036854775807"),
        ("1e3", 1_000 * NANOS, "1e3"),
        ("1E3", 1_000 * NANOS, "1e3"),
        ("1e+3", 1_000 * NANOS, "1e3"),
        ("12e-1", 1_200_000_000, "1200e-3"),
        ("1e-9", 1, "1e-9"),
        ("1e-99999999999", 1, "1e-9"),
        ("0e99", 0, "0"),
        ("1e99", MOST_NANOS, "9223372036854775807"),
        ("0.0000000001", 1, "1n"),
        ("12345.67", 12_345_670_000_000, "12345670m"),
        ("00012", 12 * NANOS, "12"),
    ] {
        let quantity = Quantity::parse(text).expect(text);
        assert_eq!(quantity.nanos(), expected_nanos, "{text}");
        assert_eq!(quantity.canonical(), canonical, "{text}");
        assert_eq!(quantity.text(), text);
    }
}

#[test]
fn what_is_no_quantity_is_refused() {
    for text in [
        "", " ", "m", "+", "-", ".", "1.1.1", "1 Gi", "1gi", "1K", "1KI", "1mi", "1Gib", "--1", "1e", "1e+",
        "1e1.5", "0x10", "1_000", "١", "NaN", "inf",
    ] {
        assert_eq!(Quantity::parse(text), Err(NotAQuantity), "{text}");
    }
}

#[test]
fn values_are_rounded_up() {
    for (text, value, milli) in [
        ("100m", 1, 100),
        ("1500m", 2, 1500),
        ("-1500m", -1, -1500),
        ("1n", 1, 1),
        ("1.0001", 2, 1001),
        ("1Ki", 1024, 1_024_000),
    ] {
        let quantity = Quantity::parse(text).expect(text);
        assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
    }
}

#[test]
fn equal_amounts_are_equal_however_written() {
    assert_eq!(Quantity::parse("1"), Quantity::parse("1000m"));
    assert!(Quantity::parse("1Gi").expect("1Gi") > Quantity::parse("1G").expect("1G"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
        let _ = Quantity::parse(&text).map(|quantity| quantity.canonical());
    }

    #[test]
    fn anything_like_a_quantity_survives(text in "[+-]?[0-9]{0,40}(\\.[0-9]{0,40})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,12})?") {
        let _ = Quantity::parse(&text).map(|quantity| quantity.canonical());
    }

    #[test]
    fn the_canonical_form_is_the_same_amount_and_its_own_canonical_form(
        whole in 0u32..2_000_000, fraction in 0u32..1_000,
        suffix in prop::sample::select(vec!["m", "", "k", "M", "Ki", "Mi", "Gi", "e3", "e-2"]),
    ) {
        let quantity = Quantity::parse(&format!("{whole}.{fraction:03}{suffix}")).expect("a quantity");
        let canonical = Quantity::parse(&quantity.canonical()).expect("canonical");
        // Only a binary form with a fraction of a unit is rounded, and then up, by less than one unit.
        let difference = canonical.nanos() - quantity.nanos();
        prop_assert!(difference == 0 || (suffix.ends_with('i') && (0..NANOS).contains(&difference)));
        // A binary amount that no binary suffix divides is written without one, and is decimal when read again.
        let turned_decimal = suffix.ends_with('i') && !canonical.text().ends_with('i');
        if turned_decimal {
            prop_assert_eq!(Quantity::parse(&canonical.canonical()), Ok(canonical));
        } else {
            prop_assert_eq!(canonical.canonical(), quantity.canonical());
        }
    }

    #[test]
    fn thousandths_agree_with_exact_arithmetic(whole in 0i128..1_000_000_000, milli in 0i128..1000) {
        prop_assert_eq!(nanos(&format!("{whole}.{milli:03}")), (whole * 1000 + milli) * 1_000_000);
        prop_assert_eq!(nanos(&format!("{whole}.{milli:03}Mi")), (whole * 1000 + milli) * (1 << 20) * 1_000_000);
    }

    #[test]
    fn from_nanos_reads_back(nanos in -MOST_NANOS..=MOST_NANOS) {
        let quantity = Quantity::from_nanos(nanos);
        prop_assert_eq!(Quantity::parse(quantity.text()).expect("its own text").nanos(), nanos);
    }
}
