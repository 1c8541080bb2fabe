//! Unknown variables with the exporter's prefix: misspelt ones, or those that Kubernetes injects.

use super::variables::VARIABLES;

const PREFIX: &str = "IMDS_EXPORTER_";

pub(super) fn error(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let rest = upper.strip_prefix(PREFIX)?;
    if of_a_kubernetes_service(rest) {
        return None;
    }
    let hint = match nearest(&upper) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "see --help for those that are known".to_owned(),
    };
    Some(format!("{name}: unknown variable; {hint}"))
}

/// The known name that is most like this one, unless more than a third of what makes it a name is another.
fn nearest(name: &str) -> Option<&'static str> {
    let distances = VARIABLES.iter().map(|known| (strsim::damerau_levenshtein(known.name, name), known.name));
    let (distance, nearest) = distances.min()?;
    (distance <= (name.len() - PREFIX.len()) / 3).then_some(nearest)
}

/// Kubernetes injects these into every pod of a namespace with a Service whose name begins with `imds-exporter`.
fn of_a_kubernetes_service(rest: &str) -> bool {
    let ends = |end: &str| rest == end || rest.ends_with(&format!("_{end}"));
    let holds = |part: &str| rest.starts_with(part) || rest.contains(&format!("_{part}"));
    let port_of_protocol = rest.split("PORT_").skip(1).any(|after| {
        let mut words = after.split('_');
        let number = words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit()));
        number && words.next().is_some_and(|word| ["TCP", "UDP", "SCTP"].contains(&word))
    });
    ends("SERVICE_HOST") || holds("SERVICE_PORT") || ends("PORT") || port_of_protocol
}
