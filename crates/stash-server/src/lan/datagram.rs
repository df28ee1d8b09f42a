//! Reading what came by multicast DNS. Anybody on the network may have sent it.
//!
//! A datagram is judged by itself: an instance counts if its SRV and its TXT record are both in it. So nothing is kept of what
//! is not recognised, and nothing is asked because of what was heard.

use stash_crypto::LAN_TAG_LEN;

use crate::lan::announcement::{
    A, AAAA, ANY, Announcement, IN, LIFE, ONLY, PTR, SERVICE, SRV, TAG_KEY, TXT, bytes,
};

/// Bytes of the largest datagram that multicast DNS has (RFC 6762, section 17).
pub(crate) const MAX_DATAGRAM: usize = 9_000;

/// Questions and records of a datagram that are read; what is behind them is not.
const MAX_QUESTIONS: u16 = 32;
const MAX_RECORDS: u32 = 64;

/// Instances of a datagram that are looked at. A node says one.
const MAX_INSTANCES: usize = 8;

/// Bytes of a name with all its labels (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;

/// What a datagram says, as far as it concerns this node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    Question(Question),
    Instances(Vec<Instance>),
}

/// What somebody asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// Who is there.
    pub who: bool,
    /// Something that this node is to answer, and the sender does not know.
    pub mine: bool,
    /// The sender says what it knows: others may leave that out, so the answers are not all that there are.
    pub knows: bool,
}

/// What somebody says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub name: Vec<u8>,
    pub tag: [u8; LAN_TAG_LEN],
    pub port: u16,
    /// Seconds for which it holds; 0 takes it back.
    pub life: u32,
}

/// Reads a datagram. `mine` is what this node says of itself. `None` if it is malformed, or of no concern.
pub(crate) fn read(datagram: &[u8], mine: Option<&Announcement>) -> Option<Datagram> {
    let mut reader = Reader { datagram, at: 0 };
    let _id = reader.u16()?;
    let flags = reader.u16()?;
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    let [questions, answers, authorities, additional] = counts;
    // The operation must be a query, and there is no error in multicast DNS (RFC 6762, section 18).
    if flags & 0x780f != 0 {
        return None;
    }
    if flags & 0x8000 == 0 {
        return reader.question(questions, answers, mine).map(Datagram::Question);
    }
    if questions > 0 {
        return None;
    }
    let records = [answers, authorities, additional].map(u32::from).iter().sum();
    Some(Datagram::Instances(reader.instances(records)?))
}

struct Reader<'a> {
    datagram: &'a [u8],
    at: usize,
}

struct Record<'a> {
    name: Vec<u8>,
    kind: u16,
    class: u16,
    life: u32,
    data: &'a [u8],
    /// Where the data begins in the datagram.
    at: usize,
}

impl<'a> Reader<'a> {
    fn question(
        &mut self,
        questions: u16,
        answers: u16,
        mine: Option<&Announcement>,
    ) -> Option<Question> {
        let mut question = Question { knows: answers > 0, ..Question::default() };
        let (mut by_service, mut by_name) = (false, false);
        let names = mine.map(|mine| (mine.instance_name(), mine.host_name()));
        for _ in 0..questions.min(MAX_QUESTIONS) {
            let name = self.name()?;
            let (kind, class) = (self.u16()?, self.u16()? & !ONLY);
            let asks = |kinds: &[u16]| kinds.contains(&kind) && [IN, ANY].contains(&class);
            by_service |= name == SERVICE && asks(&[PTR, ANY]);
            if let Some((instance, host)) = &names {
                by_name |= name == *instance && asks(&[SRV, TXT, ANY]);
                by_name |= name == *host && asks(&[A, AAAA, ANY]);
            }
        }
        question.who = by_service;
        let known = by_service
            && questions <= MAX_QUESTIONS
            && names.as_ref().is_some_and(|(instance, _)| self.is_known(answers, instance));
        question.mine = names.is_some() && (by_name || by_service && !known);
        Some(question)
    }

    /// True if the records say that the sender knows this instance, and for long (RFC 6762, section 7.1).
    fn is_known(&mut self, answers: u16, instance: &[u8]) -> bool {
        let datagram = self.datagram;
        let records = (0..u32::from(answers).min(MAX_RECORDS)).map_while(|_| self.record());
        records
            .filter(|one| one.name == SERVICE && one.kind == PTR && one.life >= LIFE / 2)
            .any(|one| Reader { datagram, at: one.at }.name().is_some_and(|name| name == instance))
    }

    fn instances(&mut self, records: u32) -> Option<Vec<Instance>> {
        let (mut ports, mut tags) = (Vec::new(), Vec::new());
        for _ in 0..records.min(MAX_RECORDS) {
            let record = self.record()?;
            if record.class & !ONLY != IN || !is_instance(&record.name) {
                continue;
            }
            let full = |count: usize| count >= MAX_INSTANCES;
            match record.kind {
                // Priority and weight, two bytes each, say nothing here.
                SRV if !full(ports.len()) => {
                    let port = record.data.get(4..6)?;
                    ports.push((record.name, u16::from_be_bytes([port[0], port[1]]), record.life));
                }
                TXT if !full(tags.len()) => {
                    if let Some(tag) = tag(record.data) {
                        tags.push((record.name, tag, record.life));
                    }
                }
                _ => {}
            }
        }
        let instance = |(name, port, life): (Vec<u8>, u16, u32)| {
            let (_, tag, other) = tags.iter().find(|(other, ..)| *other == name)?;
            Some(Instance { name, tag: *tag, port, life: life.min(*other) })
        };
        Some(ports.into_iter().filter_map(instance).filter(|one| one.port != 0).collect())
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let name = self.name()?;
        let (kind, class, life) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let at = self.at;
        Some(Record { name, kind, class, life, data: self.take(length)?, at })
    }

    /// A name as labels in small letters, with whatever it points at (RFC 1035, section 4.1.4).
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        // A name points back only, each time further, so it ends.
        let (mut at, mut end, mut limit) = (self.at, None, self.at);
        loop {
            let length = *self.datagram.get(at)?;
            match length {
                0 => {
                    name.push(0);
                    self.at = end.unwrap_or(at + 1);
                    return (name.len() <= MAX_NAME).then_some(name);
                }
                1..=63 => {
                    let next = at + 1 + usize::from(length);
                    name.push(length);
                    name.extend(
                        self.datagram.get(at + 1..next)?.iter().map(u8::to_ascii_lowercase),
                    );
                    if name.len() > MAX_NAME {
                        return None;
                    }
                    at = next;
                }
                192.. => {
                    let low = *self.datagram.get(at + 1)?;
                    let to = usize::from(length & 63) << 8 | usize::from(low);
                    if to >= limit {
                        return None;
                    }
                    end.get_or_insert(at + 2);
                    (at, limit) = (to, to);
                }
                _ => return None,
            }
        }
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.datagram.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }
}

/// True of one label before the service.
fn is_instance(name: &[u8]) -> bool {
    let label = name.first().map_or(0, |length| usize::from(*length));
    label > 0 && name.get(1 + label..) == Some(SERVICE)
}

/// The tag in the strings of a TXT record; what else is there is for later programs.
fn tag(mut strings: &[u8]) -> Option<[u8; LAN_TAG_LEN]> {
    while let Some((length, rest)) = strings.split_first() {
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        if let Some(digits) = text.strip_prefix(TAG_KEY) {
            return bytes(digits);
        }
        strings = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;
    use crate::lan::announcement::question;
    use crate::lan::announcement::tests::example;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 2));

    fn instances(datagram: &[u8]) -> Vec<Instance> {
        match read(datagram, None) {
            Some(Datagram::Instances(instances)) => instances,
            other => panic!("no instances: {other:?}"),
        }
    }

    fn asked(datagram: &[u8], mine: Option<&Announcement>) -> Question {
        match read(datagram, mine) {
            Some(Datagram::Question(question)) => question,
            other => panic!("no question: {other:?}"),
        }
    }

    #[test]
    fn what_is_said_is_read_and_taken_back() {
        let said = example();
        let instance = |life| Instance {
            name: said.instance_name(),
            tag: std::array::from_fn(|n| u8::try_from(n * 17).unwrap()),
            port: 7979,
            life,
        };
        assert_eq!(instances(&said.encode(HERE, 7979)), [instance(LIFE)]);
        assert_eq!(instances(&said.goodbye(HERE, 7979)), [instance(0)]);
        assert_eq!(instances(&said.encode("fe80::1".parse().unwrap(), 7979)), [instance(LIFE)]);
        assert_eq!(instances(&said.encode(HERE, 0)), [], "nobody listens at port 0");
    }

    #[test]
    fn who_is_there_is_answered_unless_the_asker_knows() {
        let said = example();
        let who = |mine, knows| Question { who: true, mine, knows };
        assert_eq!(asked(&question(), None), who(false, false), "it has nothing to say");
        assert_eq!(asked(&question(), Some(&said)), who(true, false));
        // The same question with an answer, by a pointer at the name of the question.
        let knowing = |life: u32, name: &[u8]| {
            let mut datagram = question();
            datagram[7] = 1;
            datagram.extend([0xc0, 12, 0, 12, 0, 1]);
            datagram.extend(life.to_be_bytes());
            datagram.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            datagram.extend(name);
            datagram
        };
        let name = [&[32], &said.instance[..], &[0xc0, 12]].concat();
        assert_eq!(asked(&knowing(LIFE / 2, &name), Some(&said)), who(false, true));
        assert_eq!(asked(&knowing(LIFE / 2 - 1, &name), Some(&said)), who(true, true));
        let other = [&[32], &said.host[..], &[0xc0, 12]].concat();
        assert_eq!(asked(&knowing(LIFE, &other), Some(&said)), who(true, true));
    }

    #[test]
    fn questions_about_this_node_alone_are_answered_and_others_are_not() {
        let said = example();
        let ask = |name: &[u8], kind: u16| {
            let mut datagram = question()[..12].to_vec();
            datagram.extend(name.to_ascii_uppercase());
            datagram.extend(kind.to_be_bytes());
            // The bit that asks for an answer to the asker alone.
            datagram.extend((IN | ONLY).to_be_bytes());
            datagram
        };
        let mine = |name: &[u8], kind| asked(&ask(name, kind), Some(&said)).mine;
        assert!(mine(&said.instance_name(), SRV) && mine(&said.instance_name(), TXT));
        assert!(mine(&said.host_name(), A) && mine(&said.host_name(), AAAA));
        assert!(mine(SERVICE, ANY) && !mine(SERVICE, SRV));
        assert!(!mine(&said.instance_name(), A) && !mine(&said.host_name(), SRV));
        assert!(!mine(b"\x08_printer\x04_tcp\x05local\0", PTR));
    }

    #[test]
    fn a_name_that_points_at_itself_or_forward_is_refused() {
        let mut datagram = example().encode(HERE, 7979);
        for to in [12_u8, 13, 200] {
            // The name of the first record begins behind the header.
            datagram[12..14].copy_from_slice(&[0xc0, to]);
            assert_eq!(read(&datagram, None), None, "{to}");
        }
        // Two that point at each other.
        let mut datagram = question();
        datagram[5] = 2;
        datagram.truncate(12);
        datagram.extend([1, b'a', 0xc0, 18, 0, 12, 0, 1, 1, b'b', 0xc0, 12, 0, 12, 0, 1]);
        assert_eq!(read(&datagram, None), None);
        // Pointers and labels that are longer than a name may be.
        let mut datagram = question()[..12].to_vec();
        datagram[5] = 1;
        datagram.extend((0..5).flat_map(|_| [&[63][..], &[b'x'; 63]].concat()));
        datagram.extend([0, 0, 12, 0, 1]);
        assert_eq!(read(&datagram, None), None);
    }

    #[test]
    fn of_a_datagram_full_of_instances_a_few_are_read() {
        let said = example().encode(HERE, 7979);
        let mut many = said[..12].to_vec();
        many[6..8].copy_from_slice(&100_u16.to_be_bytes());
        for n in 0..25_u8 {
            let mut one = said[12..].to_vec();
            let name = example().instance_name();
            for at in 0..one.len() - name.len() {
                if one[at..].starts_with(&name) {
                    one[at + 1] = b'g' + n;
                }
            }
            many.extend(one);
        }
        assert_eq!(instances(&many).len(), MAX_INSTANCES);
    }

    #[test]
    fn no_bytes_make_it_fail_and_one_that_is_cut_says_nothing() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let said = example();
        let whole = said.encode(HERE, 7979);
        for _ in 0..20_000 {
            let mut datagram = match rng.random_range(0..3) {
                0 => whole.clone(),
                1 => question(),
                _ => {
                    let mut noise = vec![0; rng.random_range(0..600)];
                    rng.fill_bytes(&mut noise);
                    noise
                }
            };
            for _ in 0..rng.random_range(0..4) {
                if !datagram.is_empty() {
                    let at = rng.random_range(0..datagram.len());
                    datagram[at] = rng.random();
                }
            }
            datagram.truncate(rng.random_range(0..=datagram.len()));
            if let Some(Datagram::Instances(all)) = read(&datagram, Some(&said)) {
                assert!(all.len() <= MAX_INSTANCES && all.iter().all(|one| one.port != 0));
            }
        }
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut], None), None, "cut at {cut}");
        }
    }
}
