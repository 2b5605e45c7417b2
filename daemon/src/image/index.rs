//! Which images there are and what they are called, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::digest::Digest;
use super::reference::{Lookup, Tagged, id_prefix};
use super::{Error, Image};
use crate::clock::Timestamp;

/// A snapshot; changing it makes a new one of which all unchanged images are shared.
#[derive(Debug, Default, Clone)]
pub(super) struct Index {
    images: BTreeMap<Digest, Arc<Image>>,
    tags: HashMap<Tagged, Digest>,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.images.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Image>> {
        self.images.get(digest).cloned()
    }

    /// Returns whether an image has this layer, at the top or below.
    pub(super) fn uses_layer(&self, chain_id: &Digest) -> bool {
        self.all().any(|image| image.layers.iter().any(|layer| layer.chain_id == *chain_id))
    }

    /// Adds an image that may be there already; names stay.
    pub(super) fn insert(&mut self, mut image: Image) {
        if let Some(known) = self.images.get(&image.digest) {
            image.tags.clone_from(&known.tags);
            image.last_tagged = image.last_tagged.or(known.last_tagged);
            image.manifest = known.manifest.or(image.manifest);
        }
        self.images.insert(image.digest, Arc::new(image));
    }

    /// Names an image, taking the name from the one that has it.
    pub(super) fn tag(&mut self, tagged: Tagged, digest: Digest, asked: Option<Timestamp>) {
        self.untag(&tagged);
        let Some(image) = self.images.get_mut(&digest) else { return };
        let image = Arc::make_mut(image);
        image.tags.push(tagged.clone());
        image.tags.sort();
        image.last_tagged = asked.or(image.last_tagged);
        self.tags.insert(tagged, digest);
    }

    /// Takes a name away; returns the image that had it.
    pub(super) fn untag(&mut self, tagged: &Tagged) -> Option<Digest> {
        let digest = self.tags.remove(tagged)?;
        if let Some(image) = self.images.get_mut(&digest) {
            Arc::make_mut(image).tags.retain(|own| own != tagged);
        }
        Some(digest)
    }

    pub(super) fn remove(&mut self, digest: &Digest) {
        self.images.remove(digest);
        self.tags.retain(|_, tagged| tagged != digest);
    }

    /// Returns which image has a name.
    pub(super) fn tagged(&self, tagged: &Tagged) -> Option<Digest> {
        self.tags.get(tagged).copied()
    }

    /// Finds an image as dockerd does: a full id, then a name, then the beginning of exactly one id.
    pub(super) fn resolve(&self, text: &str) -> Result<Arc<Image>, Error> {
        let lookup = Lookup::parse(text)?;
        let found = match &lookup {
            Lookup::Id(digest) => self.get(digest),
            Lookup::Name(reference) => {
                let named = match &reference.digest {
                    // The content is what counts; a tag beside it is not looked at.
                    Some(digest) => self.all().find(|image| {
                        let same = image.digest == *digest || image.manifest == Some(*digest);
                        same && image.tags.iter().any(|tagged| tagged.repository == reference.repository)
                    }),
                    None => self.tagged(&reference.tagged()).and_then(|digest| self.images.get(&digest)),
                };
                named.cloned().or_else(|| self.by_prefix(text))
            }
        };
        found.ok_or_else(|| Error::NoSuchImage(lookup.to_string()))
    }

    fn by_prefix(&self, text: &str) -> Option<Arc<Image>> {
        let prefix = id_prefix(text)?;
        let lowest = Digest::from_hex(&format!("{prefix:0<64}")).ok()?;
        let mut matching = self.images.range(lowest..).take_while(|(digest, _)| digest.hex().starts_with(prefix));
        match (matching.next(), matching.next()) {
            (Some((_, image)), None) => Some(Arc::clone(image)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::*;

    fn image(seed: &str) -> Image {
        Image::new(Digest::of(seed.as_bytes()), Document::default(), Some(Digest::of(b"manifest")), Vec::new(), None)
    }

    fn name(text: &str) -> Tagged {
        Tagged::from_parameters(text, "").unwrap().unwrap()
    }

    fn index() -> Index {
        let mut index = Index::default();
        for seed in 0..300 {
            index.insert(image(&seed.to_string()));
        }
        index
    }

    #[test]
    fn images_are_found_by_id_name_digest_and_unique_prefix() {
        let mut index = index();
        let digest = Digest::of(b"7");
        index.tag(name("app:1"), digest, None);
        index.tag(name("host:5000/app"), digest, None);
        let manifest = Digest::of(b"manifest");
        for text in [
            digest.to_string(),
            digest.hex(),
            digest.short(),
            format!("sha256:{}", digest.short()),
            "app:1".to_owned(),
            "docker.io/library/app:1".to_owned(),
            "host:5000/app".to_owned(),
            format!("app@{digest}"),
            format!("app:9@{manifest}"),
        ] {
            assert_eq!(index.resolve(&text).unwrap().digest, digest, "{text}");
        }
    }

    #[test]
    fn what_is_not_found_is_named_with_its_tag() {
        let index = index();
        for (text, message) in [
            ("app", "No such image: app:latest"),
            ("a/b:2", "No such image: a/b:2"),
            // Three hundred ids share two hundred and fifty-six first bytes.
            ("", "invalid reference format"),
            ("UP", "invalid reference format: repository name (library/UP) must be lowercase"),
        ] {
            assert_eq!(index.resolve(text).unwrap_err().to_string(), message);
        }
        assert_eq!(
            index.resolve("0").unwrap_err().to_string(),
            "No such image: 0:latest",
            "more than one id begins so"
        );
        let missing = Digest::of(b"missing");
        assert_eq!(index.resolve(&missing.hex()).unwrap_err().to_string(), format!("No such image: {missing}"));
    }

    #[test]
    fn a_name_belongs_to_one_image() {
        let mut index = index();
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        index.tag(name("app"), first, None);
        index.tag(name("app"), second, Some(Timestamp(5)));
        assert_eq!(index.get(&first).unwrap().tags, []);
        assert_eq!(index.resolve("app").unwrap().digest, second);
        assert_eq!(index.get(&second).unwrap().last_tagged, Some(Timestamp(5)));
        index.insert(image("2"));
        assert_eq!(index.get(&second).unwrap().tags, [name("app")], "loading an image again keeps its names");
        assert_eq!(index.untag(&name("app")), Some(second));
        index.tag(name("app"), first, None);
        index.remove(&first);
        assert!(index.resolve("app").is_err());
    }
}
