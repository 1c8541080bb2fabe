//! How a role list becomes part of a path in boto3: as it is, with what Python's URL functions make of it.

/// The path of the role's document below the role list; `None` if it is not known what Python makes of the list.
pub(super) fn role_path(list: &str) -> Option<String> {
    let mut path = String::new();
    for c in list.chars() {
        match c {
            // Dropped by Python since 3.6.14, 3.7.11, 3.8.11 and 3.9.5.
            '\t' | '\r' | '\n' => {}
            // These end the path, or begin what is encoded already.
            '?' | '#' | ';' | '%' => return None,
            c if c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@/".contains(c) => path.push(c),
            c => path.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}"))),
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As boto3 1.20 to 1.44 do, run with Python 3.11.
    #[test]
    fn a_list_is_put_into_the_path_as_it_is() {
        for (list, path) in [
            ("web", "web"),
            ("web\n", "web"),
            ("web\r\nother", "webother"),
            ("arn:aws:iam::123456789012:role/team/app", "arn:aws:iam::123456789012:role/team/app"),
            ("../x", "../x"),
            (" web", "%20web"),
            ("<html>", "%3Chtml%3E"),
            ("w*b'()!~$&", "w*b'()!~$&"),
            ("w\"b\\", "w%22b%5C"),
            ("w[b]|^`{}", "w%5Bb%5D%7C%5E%60%7B%7D"),
            ("w\0\x7fé", "w%00%7F%C3%A9"),
        ] {
            assert_eq!(role_path(list).as_deref(), Some(path), "{list}");
        }
        for list in ["web?x=1", "web#x", "web;x", "we%62"] {
            assert_eq!(role_path(list), None, "{list}");
        }
    }
}
