//! Selectors by example, with the errors that Kubernetes gives, and by law: a selector reads what it prints.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector = LabelSelector::parse(selector).expect(selector);
    selector.matches(|key| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
}

#[test]
fn label_selectors_select() {
    let labels = &[("app", "web"), ("tier", "front"), ("weight", "10"), ("empty", "")];
    let table = [
        ("", true),
        ("app", true),
        ("app=web", true),
        ("app==web", true),
        (" app = web , tier = front ", true),
        ("app=api", false),
        ("app!=api", true),
        ("other!=x", true),
        ("other", false),
        ("!other", true),
        ("!app", false),
        ("app in (web, api)", true),
        ("app in (api)", false),
        ("app notin (api)", true),
        ("other notin (api)", true),
        ("app notin (web,api)", false),
        ("weight>9", true),
        ("weight>10", false),
        ("weight<11,weight>9", true),
        ("app>1", false),
        ("other<1", false),
        ("empty=", true),
        ("empty=,app=web", true),
        ("empty in ()", true),
        ("empty in (,a)", true),
        ("empty in (a,)", true),
        ("empty in (a,,b)", true),
        ("empty in (a,b)", false),
        ("app in(web),tier", true),
        ("app=in", false),
    ];
    for (selector, expected) in table {
        assert_eq!(matches(selector, labels), expected, "{selector}");
    }
    assert!(matches("in in (in, notin)", &[("in", "notin")]));
    assert!(matches("notin=in", &[("notin", "in")]));
}

#[test]
fn label_selectors_are_refused_in_kubernetes_words() {
    let table = [
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a in (b,=)", "unable to parse requirement: found '=', expected: ',', or identifier"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a==(", "unable to parse requirement: found '(', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!!a", "unable to parse requirement: found '!', expected: identifier"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        (
            "a=-",
            "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
    ];
    for (text, expected) in table {
        let error = LabelSelector::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
    let error = LabelSelector::parse("-a").expect_err("a bad key").to_string();
    assert!(
        error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part"),
        "{error}"
    );
}

#[test]
fn selectors_of_objects_select() {
    let read = |json: serde_json::Value| LabelSelector::from_json(Some(&json)).map(|found| found.to_string());
    let all = json!({
        "matchLabels": {"b": "1"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]},
            {"key": "a", "operator": "Exists"},
            {"key": "d", "operator": "NotIn", "values": ["z"]},
            {"key": "e", "operator": "DoesNotExist"},
        ],
    });
    assert_eq!(read(all).as_deref(), Ok("a,b=1,c in (x,y),d notin (z),!e"));
    let object = json!({"metadata": {"labels": {"a": "", "b": "1"}}});
    let empty = LabelSelector::from_json(Some(&json!({}))).expect("empty");
    assert!(empty.selects_everything() && empty.matches_object(&object));
    let absent = LabelSelector::from_json(None).expect("absent");
    assert!(!absent.selects_everything() && !absent.matches_object(&object));
    let plain = LabelSelector::from_labels(&json!({"b": "1"})).expect("labels");
    assert!(plain.matches_object(&object) && !plain.matches_object(&json!({})));
    let error =
        read(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})).expect_err("no operator");
    assert_eq!(error.to_string(), "\"Near\" is not a valid label selector operator");
    for broken in [json!([]), json!({"matchLabels": {"a": 1}}), json!({"matchExpressions": {}})] {
        assert!(read(broken.clone()).is_err(), "{broken}");
    }
}

#[test]
fn objects_with_broken_selectors_are_told_every_rule() {
    let selector = json!({
        "matchLabels": {"-": "ok", "ok": "-"},
        "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "", "operator": "Near", "values": ["-"]},
        ],
    });
    let told: Vec<_> = label::validate(&selector, "spec.selector")
        .into_iter()
        .map(|error| (error.field, error.kind.cause()))
        .collect();
    let expected = [
        ("spec.selector.matchLabels", "FieldValueInvalid"),
        ("spec.selector.matchLabels", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[0].values", "FieldValueRequired"),
        ("spec.selector.matchExpressions[1].values", "FieldValueForbidden"),
        ("spec.selector.matchExpressions[2].operator", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[2].key", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[2].values[0]", "FieldValueInvalid"),
    ];
    assert_eq!(told, expected.map(|(field, cause)| (field.to_owned(), cause)));
}

#[test]
fn field_selectors_select() {
    let object = json!({
        "metadata": {"name": "x"}, "status": {"phase": "Running"}, "spec": {"unschedulable": true, "n": 3},
        "odd": "a,b=c\\d",
    });
    let table = [
        ("", true),
        ("metadata.name=x", true),
        ("metadata.name==x,status.phase!=Pending", true),
        ("metadata.name!=x", false),
        ("status.nodeName=", true),
        ("status.nodeName!=", false),
        ("spec.unschedulable=true", true),
        ("spec.n=3", true),
        (",,metadata.name=x,", true),
        ("odd=a\\,b\\=c\\\\d", true),
        ("metadata.name=", false),
    ];
    for (text, expected) in table {
        let selector = FieldSelector::parse(text).expect(text);
        assert_eq!(selector.matches_object(&object), expected, "{text}");
        assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector), "{text}");
    }
    let selector = FieldSelector::parse("metadata.name=x,spec.nodeName!=y").expect("a selector");
    assert_eq!(selector.exact("metadata.name"), Some("x"));
    assert_eq!(selector.exact("spec.nodeName"), None);
}

#[test]
fn field_selectors_that_say_the_same_are_the_same() {
    let selector = FieldSelector::parse("a==z,a=b").expect("a selector");
    assert_eq!(FieldSelector::parse("a=b,a=z"), Ok(selector.clone()));
    assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
}

#[test]
fn field_selectors_are_refused_in_kubernetes_words() {
    let table = [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("x=1,a", "invalid selector: 'x=1,a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\x", "invalid field selector: invalid escape sequence: \\x"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ];
    for (text, expected) in table {
        assert_eq!(FieldSelector::parse(text).expect_err(text).to_string(), expected);
    }
}

fn requirement() -> impl Strategy<Value = Requirement> {
    use label::Spelling::*;
    let operator = prop_oneof![
        Just(Operator::In(Equals)),
        Just(Operator::In(DoubleEquals)),
        Just(Operator::In(Set)),
        Just(Operator::NotIn(Equals)),
        Just(Operator::NotIn(Set)),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
        Just(Operator::GreaterThan),
        Just(Operator::LessThan),
    ];
    let value = "([a-z0-9]([-a-z0-9_.]{0,5}[a-z0-9])?)?";
    ("([a-z]{1,3}/)?[a-z0-9]{1,5}", operator, prop::collection::vec(value, 1..4), any::<i32>()).prop_map(
        |(key, operator, mut values, number)| {
            match operator {
                Operator::In(Set) | Operator::NotIn(Set) => {}
                Operator::Exists | Operator::DoesNotExist => values.clear(),
                Operator::GreaterThan | Operator::LessThan => {
                    values = vec![number.unsigned_abs().to_string()]
                }
                _ => values.truncate(1),
            }
            Requirement::new(key, operator, values).expect("a good requirement")
        },
    )
}

proptest! {
    #[test]
    fn a_label_selector_reads_what_it_prints(requirements in prop::collection::vec(requirement(), 0..5)) {
        let selector = LabelSelector::new(requirements);
        prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn a_field_selector_reads_what_it_prints(terms in prop::collection::vec(("[a-z.]{1,8}", "[a-z,=\\\\ !]{0,8}", any::<bool>()), 0..5)) {
        let text = terms
            .iter()
            .map(|(field, value, equal)| {
                format!("{field}{}{}", if *equal { "=" } else { "!=" }, field::escape(value))
            })
            .collect::<Vec<_>>()
            .join(",");
        let selector = FieldSelector::parse(&text).expect("a good selector");
        prop_assert_eq!(selector.terms().len(), terms.len());
        prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9=!()<>, \\\\.\u{0}\u{e4}/-]{0,40}") {
        crate::fuzzed::label_selector(&text);
        crate::fuzzed::field_selector(&text);
    }
}
