//! Query parameters as Kubernetes reads them (`k8s.io/apimachinery/pkg/runtime/converter.go`), and percent-encoding.

use crate::status::Refusal;

/// The parameters of a request, in their order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`. What is badly encoded is taken as it stands.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (form_decoded(name), form_decoded(value))
                })
                .collect(),
        )
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The first value.
    pub(crate) fn first<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// True unless it is absent, `false` or `0` (`Convert_Slice_string_To_bool`).
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.first(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: std::num::ParseIntError| {
            let why = match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            Refusal::bad_request(format!("strconv.ParseInt: parsing {value:?}: {why}"))
        })
    }
}

fn form_decoded(text: &str) -> String {
    decoded(&text.replace('+', " ")).unwrap_or_else(|| text.into())
}

/// Undoes percent-encoding. Nothing if it is badly encoded or not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        rest = after;
        let digit = |byte: u8| (byte as char).to_digit(16);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_keep_their_order() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo+a%26b%2Bc&tty&x=%zz"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a&b+c"]);
        assert_eq!(query.first("tty"), Some(""));
        assert_eq!(query.first("x"), Some("%zz"));
        assert_eq!(query.first("absent"), None);
    }

    #[test]
    fn a_flag_is_true_unless_it_says_no() {
        let query = Query::parse(Some("a=1&b=true&c&d=false&e=0&f=False&g=yes"));
        let set: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| query.flag(name)).into();
        assert_eq!(set, [true, true, true, false, false, false, true, false]);
    }

    #[test]
    fn a_number_that_is_none_is_refused_in_the_words_of_go() {
        let query = Query::parse(Some("a=7&b=x&c=99999999999999999999"));
        assert_eq!(query.number("a"), Ok(Some(7)));
        assert_eq!(
            query.number("b").unwrap_err().message(),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            query.number("c").unwrap_err().message(),
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        );
    }
}
