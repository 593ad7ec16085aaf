//! Names are written once a sequence; after that a number stands for them.

use std::collections::BTreeMap;

use super::messages::{InternedData, InternedName};

/// The names of one kind.
#[derive(Debug, Default)]
struct Numbers(BTreeMap<String, u64>);

impl Numbers {
    /// The name's number; `news` gets the name when it is new.
    fn of(&mut self, name: &str, news: &mut Vec<InternedName>) -> u64 {
        if let Some(&number) = self.0.get(name) {
            return number;
        }
        // 0 is no number.
        let number = self.0.len() as u64 + 1;
        self.0.insert(name.to_owned(), number);
        news.push(InternedName { iid: Some(number), name: Some(name.to_owned()) });
        number
    }
}

/// The names of one sequence, and those of the packet under way that are new.
#[derive(Debug, Default)]
pub(super) struct Names {
    categories: Numbers,
    events: Numbers,
    arguments: Numbers,
    news: InternedData,
}

impl Names {
    pub(super) fn category(&mut self, name: &str) -> u64 {
        self.categories.of(name, &mut self.news.event_categories)
    }

    pub(super) fn event(&mut self, name: &str) -> u64 {
        self.events.of(name, &mut self.news.event_names)
    }

    pub(super) fn argument(&mut self, name: &str) -> u64 {
        self.arguments.of(name, &mut self.news.debug_annotation_names)
    }

    /// What the packet under way must tell.
    pub(super) fn take_news(&mut self) -> Option<InternedData> {
        let news = std::mem::take(&mut self.news);
        (news != InternedData::default()).then_some(news)
    }
}
