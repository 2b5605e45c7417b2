//! Which containers there are: by id, by name, by the beginning of an id.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::error::Error;
use super::handle::Container;
use crate::id::Id;

/// All containers. Readers never wait for a container, only for the map.
#[derive(Debug, Default)]
pub struct Registry {
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: BTreeMap<Id, Arc<Container>>,
    by_name: HashMap<Arc<str>, Id>,
}

impl Registry {
    /// Adds a container under its name.
    pub(super) fn add(&self, container: Arc<Container>) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_name.insert(container.name(), container.id.clone());
        maps.by_id.insert(container.id.clone(), container);
    }

    /// Removes a container.
    pub(super) fn forget(&self, container: &Container) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.remove(&container.id);
        let name = container.name();
        if maps.by_name.get(&name) == Some(&container.id) {
            maps.by_name.remove(&name);
        }
    }

    /// Gives a container another name.
    pub(super) fn rename(&self, container: &Container, name: &str) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_name.remove(&container.name());
        container.set_name(name);
        maps.by_name.insert(container.name(), container.id.clone());
    }

    /// Returns the id that has this name.
    pub fn id_of_name(&self, name: &str) -> Option<Id> {
        self.read().by_name.get(name).cloned()
    }

    /// Returns every container, the newest first.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self.read().by_id.values().cloned().collect();
        all.sort_by_key(|container| std::cmp::Reverse(container.created));
        all
    }

    /// Finds a container by its full id, else its name with or without a slash, else the unique beginning of its id.
    pub fn find(&self, text: &str) -> Result<Arc<Container>, Error> {
        let maps = self.read();
        if let Some(id) = Id::parse(text)
            && let Some(found) = maps.by_id.get(&id)
        {
            return Ok(Arc::clone(found));
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(found) = maps.by_name.get(name).and_then(|id| maps.by_id.get(id)) {
            return Ok(Arc::clone(found));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::NoSuchContainer(text.to_owned()));
        }
        let mut matching = maps.by_id.values().filter(|container| container.id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(found), None) => Ok(Arc::clone(found)),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
            (None, _) => Err(Error::NoSuchContainer(text.to_owned())),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }
}
