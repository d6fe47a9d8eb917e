//! Which terms the kernel can check when a connection begins: they become the filter of a trace request.

use super::{Field, Filter, FilterError, Op, Term, Value};
use crate::request::{Cgroup, FamilyName, FilterRequest, Network, Ports};

impl Filter {
    /// Moves what the kernel can check into `request`, where that has nothing of the same field yet, and leaves
    /// the rest.
    pub(crate) fn push_down(&mut self, request: &mut FilterRequest) {
        self.terms.retain(|term| term.push_into(request).is_none());
    }
}

/// The filter of a trace request; a term that the kernel cannot check is the error.
pub(crate) fn only_kernel_terms(mut filter: Filter) -> Result<FilterRequest, FilterError> {
    let mut request = FilterRequest::default();
    filter.push_down(&mut request);
    let Some(term) = filter.terms.first() else { return Ok(request) };
    let problem = format!("`{term}` cannot be checked in the kernel when a connection begins");
    let remedy = "a trace takes comm, pid, uid, cgroup, netns, family, peer, port and local_port, each once and with = \
                  alone; give the rest to GET …/attempts?filter=";
    Err(FilterError::new(term.span, problem, remedy))
}

impl Term {
    /// Whether a trace could be asked for this by itself.
    pub(crate) fn is_for_the_kernel(&self) -> bool {
        self.push_into(&mut FilterRequest::default()).is_some()
    }

    fn push_into(&self, request: &mut FilterRequest) -> Option<()> {
        if self.not || self.op != Op::Is {
            return None;
        }
        match self.field {
            Field::Pid => fill(&mut request.pid, self.each(small_number)?),
            Field::Uid => fill(&mut request.uid, self.each(small_number)?),
            Field::Netns => fill(&mut request.netns, self.each(small_number)?),
            Field::Comm => fill(&mut request.comm, self.each(thread_name)?),
            Field::Cgroup => fill(&mut request.cgroup, self.each(|value| text(value).map(Cgroup::Path))?),
            Field::Peer => fill(&mut request.peer, self.each(network)?),
            Field::Port => fill(&mut request.peer_port, self.each(ports)?),
            Field::LocalPort => fill(&mut request.local_port, self.each(ports)?),
            Field::Family => match (&request.family, self.each(family)?.as_slice()) {
                (None, [family]) => {
                    request.family = Some(*family);
                    Some(())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// All values, or none of them.
    fn each<T>(&self, take: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        self.values.iter().map(take).collect()
    }
}

fn fill<T>(field: &mut Vec<T>, values: Vec<T>) -> Option<()> {
    field.is_empty().then(|| *field = values)
}

fn small_number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn thread_name(value: &Value) -> Option<String> {
    text(value).filter(|name| FilterRequest::is_thread_name(name))
}

fn network(value: &Value) -> Option<Network> {
    match value {
        Value::Network(network) => Some(Network(*network)),
        _ => None,
    }
}

fn ports(value: &Value) -> Option<Ports> {
    let (first, last) = match value {
        Value::Number(port) => (*port, *port),
        Value::Range(first, last) => (*first, *last),
        _ => return None,
    };
    Some(Ports(u16::try_from(first).ok().filter(|port| *port > 0)?..=u16::try_from(last).ok()?))
}

fn family(value: &Value) -> Option<FamilyName> {
    match text(value)?.as_str() {
        "ipv4" => Some(FamilyName::Ipv4),
        "ipv6" => Some(FamilyName::Ipv6),
        _ => None,
    }
}
