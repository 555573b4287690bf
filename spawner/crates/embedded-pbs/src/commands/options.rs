//! POSIX option letters, as PBS's commands read them with getopt.

/// One option with its value, or an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) options: Vec<(char, Option<String>)>,
    pub(crate) operands: Vec<String>,
}

/// `letters` as in getopt: a colon after a letter means that it takes a value. Options end at the first
/// operand or at `--`. The error is the letter nobody knows, or whose value is missing.
pub(crate) fn parse(letters: &str, arguments: &[String]) -> Result<Parsed, char> {
    let mut parsed = Parsed { options: Vec::new(), operands: Vec::new() };
    let mut index = 0;
    while index < arguments.len() {
        let argument = &arguments[index];
        let Some(cluster) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else { break };
        if cluster == "-" {
            parsed.options.push(('-', None));
            index += 1;
            break;
        }
        index += 1;
        let mut rest = cluster.chars();
        while let Some(letter) = rest.next() {
            let at = letters.find(letter).filter(|_| letter != ':').ok_or(letter)?;
            if letters[at + letter.len_utf8()..].starts_with(':') {
                let tail: String = rest.by_ref().collect();
                let value = if tail.is_empty() {
                    let value = arguments.get(index).cloned().ok_or(letter)?;
                    index += 1;
                    value
                } else {
                    tail
                };
                parsed.options.push((letter, Some(value)));
            } else {
                parsed.options.push((letter, None));
            }
        }
    }
    parsed.operands = arguments[index..].to_vec();
    Ok(parsed)
}

impl Parsed {
    pub(crate) fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(other, _)| *other == letter)
    }

    /// The last value given for `letter`.
    pub(crate) fn value(&self, letter: char) -> Option<&str> {
        self.options.iter().rev().find(|(other, _)| *other == letter).and_then(|(_, value)| value.as_deref())
    }
}

/// Splits a `#PBS` line into words: quotes group, a backslash keeps the next character.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn letters_cluster_and_take_values() {
        let parsed = parse("fxF:", &strings(&["-fx", "-Fjson", "12", "-f"])).unwrap();
        assert!(parsed.has('f') && parsed.has('x'));
        assert_eq!(parsed.value('F'), Some("json"));
        assert_eq!(parsed.operands, ["12", "-f"]);
    }

    #[test]
    fn unknown_letter_and_missing_value_are_errors() {
        assert_eq!(parse("f", &strings(&["-z"])), Err('z'));
        assert_eq!(parse("F:", &strings(&["-F"])), Err('F'));
    }

    #[test]
    fn quotes_group_words() {
        assert_eq!(words(r#"-N "a b" -v X='1 2',Y=\"z"#), ["-N", "a b", "-v", "X=1 2,Y=\"z"]);
    }
}
