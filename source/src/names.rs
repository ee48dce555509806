//! Class names: `names.txt`, the `names:` of a YOLO `data.yaml`, and the text that YOLOv5's export
//! leaves in a model's metadata.

/// Most names accepted.
pub const MAX_NAMES: usize = 65_536;
/// Most bytes of a name that a person writes: more is a line of something else.
pub const MAX_NAME: usize = 255;

/// Reads class names from the text of a file: one name a line, or a `data.yaml` with `names:` as a
/// list, a map from class index, or either of them in brackets. A byte order mark is taken off.
///
/// # Errors
/// A sentence that says what is wrong, without the file's name.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
    let names = match lines.iter().position(|line| line.starts_with("names:")) {
        Some(at) => parse_yaml(&lines[at..])?,
        None if lines.iter().any(|line| line.starts_with("nc:") || line.starts_with("train:")) => {
            return Err("it looks like a data.yaml, but has no \"names:\"".into());
        }
        None => lines.iter().map(|l| l.trim()).filter(|l| !l.is_empty()).map(str::to_owned).collect(),
    };
    check(&names)?;
    Ok(names)
}

/// Whether these can be the names of a detector's classes: from 1 to [`MAX_NAMES`], each of at most [`MAX_NAME`] bytes.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check(names: &[String]) -> Result<(), String> {
    match names.len() {
        0 => return Err("it holds no class names".into()),
        1..=MAX_NAMES => {}
        count => return Err(format!("{count} class names; expected at most {MAX_NAMES}")),
    }
    match names.iter().enumerate().find(|(_, name)| name.len() > MAX_NAME) {
        None => Ok(()),
        Some((class, name)) => {
            Err(format!("the name of class {class} has {} bytes; expected at most {MAX_NAME}", name.len()))
        }
    }
}

/// `lines[0]` starts with `names:`.
fn parse_yaml(lines: &[&str]) -> Result<Vec<String>, String> {
    let rest = without_comment(&lines[0]["names:".len()..]);
    if !rest.is_empty() {
        // In brackets, over one line or many.
        let close = if rest.starts_with('{') { '}' } else { ']' };
        let mut flow = rest.to_owned();
        for line in &lines[1..] {
            if flow.ends_with(close) {
                break;
            }
            flow.push(' ');
            flow.push_str(without_comment(line));
        }
        return parse_flow(&flow).ok_or_else(|| format!("\"names: {rest}\" is no list of names"));
    }
    let mut items = Vec::new();
    for line in &lines[1..] {
        let line = without_comment(line);
        let item = line.trim_start();
        if item.is_empty() {
            continue;
        }
        if let Some(name) = item.strip_prefix('-') {
            items.push((items.len(), unquoted(name)));
        } else if line.len() > item.len() {
            let (key, name) = item.split_once(':').ok_or_else(|| format!("\"{item}\" is no name"))?;
            let index = unquoted(key).parse().map_err(|_| format!("\"{key}\" is no class index"))?;
            items.push((index, unquoted(name)));
        } else {
            break;
        }
    }
    in_order(items).ok_or_else(|| "class indices must count from 0 without gaps".into())
}

/// `[a, b]`, `{0: a, 1: b}`, with or without quotes: YAML's flow style, and Python's literals.
pub fn parse_flow(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let (inner, keyed) = match (text.strip_prefix('['), text.strip_prefix('{')) {
        (Some(rest), _) => (rest.strip_suffix(']')?, false),
        (_, Some(rest)) => (rest.strip_suffix('}')?, true),
        _ => return None,
    };
    let mut items = Vec::new();
    for item in split_items(inner) {
        if item.trim().is_empty() {
            continue;
        }
        if keyed {
            let (key, name) = item.split_once(':')?;
            items.push((unquoted(key).parse().ok()?, unquoted(name)));
        } else {
            items.push((items.len(), unquoted(&item)));
        }
    }
    in_order(items)
}

/// Splits at commas outside quotes.
fn split_items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (None, ',') => {
                items.push(String::new());
                continue;
            }
            // A quote opens only where an item or its value begins: "it's" is a name.
            (None, '\'' | '"') if opens(items.last()) => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(character);
        }
    }
    items
}

fn opens(item: Option<&String>) -> bool {
    item.is_none_or(|item| item.trim_end().is_empty() || item.trim_end().ends_with(':'))
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    for quote in ['\'', '"'] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

fn without_comment(line: &str) -> &str {
    let end = line.find(" #").or_else(|| line.starts_with('#').then_some(0));
    line[..end.unwrap_or(line.len())].trim_end()
}

/// Names by index, if the indices are 0 and on, each once.
fn in_order(mut items: Vec<(usize, String)>) -> Option<Vec<String>> {
    items.sort();
    let counts = items.iter().enumerate().all(|(position, (index, _))| position == *index);
    counts.then(|| items.into_iter().map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_a_line() {
        assert_eq!(parse("circle\n  traffic light \n\n").unwrap(), ["circle", "traffic light"]);
    }

    #[test]
    fn a_byte_order_mark_is_not_a_part_of_a_name() {
        for text in
            ["\u{feff}cat\r\ndog\r\n", "\u{feff}names: [cat, dog]\n", "\u{feff}names:\n- cat\n- dog\n"]
        {
            assert_eq!(parse(text).unwrap(), ["cat", "dog"], "{text:?}");
        }
    }

    #[test]
    fn every_form_of_a_data_yaml() {
        let forms = [
            "train: a\nnames:\n- circle\n- 'traffic light'\nnc: 2\n",
            "names:\n  - circle\n  - traffic light # red\n",
            "nc: 2\nnames:\n  0: circle\n  1: \"traffic light\"\n\nroboflow:\n  x: 1\n",
            "names: [circle, 'traffic light']\n",
            "names: ['circle',\n  'traffic light']\nnc: 2",
            "names: {0: circle, 1: traffic light}",
        ];
        for form in forms {
            assert_eq!(parse(form).unwrap(), ["circle", "traffic light"], "{form}");
        }
    }

    #[test]
    fn python_literals_of_metadata() {
        assert_eq!(parse_flow("{0: 'person', 1: \"driver's seat\"}").unwrap()[1], "driver's seat");
        assert_eq!(parse_flow("['a, b', 'c']").unwrap(), ["a, b", "c"]);
        assert_eq!(parse_flow("{0: 'a', 2: 'b'}"), None);
        assert_eq!(parse_flow("names"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("").unwrap_err().contains("no class names"));
        assert!(parse("nc: 3\ntrain: x\n").unwrap_err().contains("names"));
        assert!(parse("names:\n  0: a\n  2: b\n").unwrap_err().contains("gaps"));
        let long = "x".repeat(MAX_NAME + 1);
        assert!(parse(&long[1..]).is_ok());
        let error = parse(&format!("a\n{long}\n")).unwrap_err();
        assert_eq!(error, "the name of class 1 has 256 bytes; expected at most 255");
        assert!(parse(&"a\n".repeat(MAX_NAMES)).is_ok());
        assert!(parse(&"a\n".repeat(MAX_NAMES + 1)).unwrap_err().contains("65537 class names"));
        // However deep: this reader does not call itself.
        assert!(parse(&format!("names: {}", "[".repeat(1 << 20))).is_err());
        assert!(parse(&format!("names:\n{}", "- ".repeat(1 << 20))).unwrap_err().contains("bytes"));
    }
}
