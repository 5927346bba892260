//! "Did you mean ...?": the nearest known name, and the place where a field would belong.

use super::schema::{Field, Shape, Type};

/// A type on the way from the root to where the reader is, with the field by which the next one is reached.
pub(crate) struct Chain<'c> {
    pub(crate) here: &'static Type,
    pub(crate) parent: Option<&'c Chain<'c>>,
    /// The path as the user wrote it.
    pub(crate) path: &'c str,
}

/// The known name that is most like a wrong one, if any is like it.
pub fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let folded = fold(wrong);
    let most = match folded.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    known
        .map(|name| (distance(&folded, &fold(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What a field that does not exist was most likely meant to be.
pub(crate) struct Suggestion {
    /// The field of this type that was meant, if it was one of this type.
    pub(crate) name: Option<&'static str>,
    /// What to say.
    pub(crate) hint: String,
}

/// What to say about a field that does not exist here.
pub(crate) fn for_unknown(wrong: &str, chain: &Chain<'_>) -> Option<Suggestion> {
    let names = || chain.here.fields.iter().map(|field| field.name);
    let same = names().find(|name| fold(name) == fold(wrong));
    // `port` for `containerPort`: a required field that ends with what was written.
    let required = || chain.here.fields.iter().filter(|field| field.is_required).map(|field| field.name);
    let ending = || required().find(|name| wrong.len() > 2 && fold(name).ends_with(&fold(wrong)));
    let one_off = || names().find(|name| wrong.len() > 3 && distance(&fold(name), &fold(wrong)) == 1);
    let did_you_mean = |name| Suggestion { name: Some(name), hint: format!("did you mean {name}?") };
    let elsewhere = |hint| Suggestion { name: None, hint };
    let all = || (chain.here.fields.len() <= 12).then(|| names().collect::<Vec<_>>().join(", "));
    same.or_else(one_off)
        .or_else(ending)
        .map(did_you_mean)
        .or_else(|| belongs_above(wrong, chain).or_else(|| belongs_below(wrong, chain)).map(elsewhere))
        .or_else(|| nearest(wrong, names()).map(did_you_mean))
        .or_else(|| belongs_beside(wrong, chain).map(elsewhere))
        .or_else(|| all().map(|names| elsewhere(format!("known here: {names}"))))
}

/// A field of a type further out: most often the indentation is too deep.
fn belongs_above(wrong: &str, chain: &Chain<'_>) -> Option<String> {
    let mut above = chain.parent;
    while let Some(outer) = above {
        if outer.here.field(wrong).is_some() {
            let place =
                if outer.path.is_empty() { "the top level".to_owned() } else { outer.path.to_owned() };
            return Some(format!(
                "{wrong} belongs to {place}, not to {}: move it out to the column of the fields there",
                chain.path
            ));
        }
        above = outer.parent;
    }
    None
}

/// A field of a type directly below: most often the indentation is too shallow.
fn belongs_below(wrong: &str, chain: &Chain<'_>) -> Option<String> {
    let holder = preferred(chain.here.fields.iter().filter(|field| has(field, wrong)))?;
    let place = place(chain.path, holder);
    Some(format!("{wrong} belongs to {place}: move it in there"))
}

/// A field of a type below one further out.
fn belongs_beside(wrong: &str, chain: &Chain<'_>) -> Option<String> {
    let mut above = chain.parent;
    while let Some(outer) = above {
        if let Some(holder) = preferred(outer.here.fields.iter().filter(|field| has(field, wrong))) {
            return Some(format!("{wrong} belongs to {}", place(outer.path, holder)));
        }
        above = outer.parent;
    }
    None
}

fn has(field: &Field, name: &str) -> bool {
    field.shape.inner_type().is_some_and(|inner| inner.field(name).is_some())
}

/// Among several holders of a field, the one that people mean.
fn preferred<'f>(holders: impl Iterator<Item = &'f Field>) -> Option<&'f Field> {
    const USUAL: [&str; 4] = ["containers", "metadata", "spec", "httpGet"];
    holders.min_by_key(|field| USUAL.iter().position(|usual| *usual == field.name).unwrap_or(USUAL.len()))
}

fn place(path: &str, holder: &Field) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    let entry = if matches!(holder.shape, Shape::List(_)) { "an entry of " } else { "" };
    format!("{entry}{path}{dot}{}", holder.name)
}

/// Case and separators do not count.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours between two names (optimal string alignment).
/// Names far longer than any field are not worth comparing.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 3 || a.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_nothing_far_away() {
        let known = || ["containerPort", "hostIP", "hostPort", "name", "protocol"].into_iter();
        for (wrong, expected) in [
            ("ContainerPort", Some("containerPort")),
            ("container_port", Some("containerPort")),
            ("contianerPort", Some("containerPort")),
            ("hostport", Some("hostPort")),
            ("nmae", Some("name")),
            ("colour", None),
            ("", None),
            ("n", None),
        ] {
            assert_eq!(nearest(wrong, known()), expected, "{wrong}");
        }
    }
}
