//! The site: contents with real bytes and real hash trees, and pages that show them.
//!
//! All visitors read from this one pool, so that ten thousand stores cost no memory; but every byte
//! that moves is a real one, and the engine verifies it as it would anywhere.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
};

use fugitive_core::{
    content::{ContentId, group_bytes, group_count},
    tree::Outboard,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

use crate::workload::{Dist, Site as Plan};

/// A content by its place in [`Site::contents`].
pub type Content = u32;

/// One content.
pub struct Resource {
    len: u64,
    seed: u64,
    made: OnceCell<Made>,
}

/// What is only made when somebody asks for it: most of a large site is never looked at.
struct Made {
    bytes: Vec<u8>,
    outboard: Rc<Outboard>,
}

impl Resource {
    fn new(len: usize, seed: u64) -> Self {
        Self {
            len: len.max(1) as u64,
            seed,
            made: OnceCell::new(),
        }
    }

    fn made(&self) -> &Made {
        self.made.get_or_init(|| {
            let mut bytes = vec![0; self.len as usize];
            ChaCha8Rng::seed_from_u64(self.seed).fill_bytes(&mut bytes);
            let outboard = Rc::new(Outboard::of(&bytes));
            Made { bytes, outboard }
        })
    }

    /// Its id.
    pub fn id(&self) -> ContentId {
        self.outboard().id()
    }

    /// Its bytes: noise, as images and videos are.
    pub fn bytes(&self) -> &[u8] {
        &self.made().bytes
    }

    /// Its tree.
    pub fn outboard(&self) -> &Rc<Outboard> {
        &self.made().outboard
    }

    /// In bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many groups it has.
    pub fn groups(&self) -> u32 {
        group_count(self.len())
    }

    /// The bytes of a run of groups.
    pub fn run(&self, groups: Range<u32>) -> &[u8] {
        let at = group_bytes(groups, self.len());
        &self.bytes()[at.start as usize..at.end as usize]
    }
}

/// One page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its path.
    pub path: String,
    /// Images that are asked for at once.
    pub eager: Vec<Content>,
    /// Images below the fold.
    pub lazy: Vec<Content>,
    /// A video that is played.
    pub video: Option<Content>,
}

impl Page {
    /// All that it shows.
    pub fn all(&self) -> impl Iterator<Item = Content> {
        let images = self.eager.iter().chain(&self.lazy);
        images.chain(&self.video).copied()
    }
}

/// All of it.
pub struct Site {
    contents: Vec<Resource>,
    /// Of those that were made.
    by_id: RefCell<BTreeMap<ContentId, Content>>,
    /// Lists first, then items; or the one page with the video.
    pub pages: Vec<Page>,
    lists: usize,
    list_rank: Option<Zipf<f64>>,
    item_rank: Option<Zipf<f64>>,
    item_views: f64,
}

impl Site {
    /// The site that a workload describes.
    pub fn new(plan: &Plan, rng: &mut impl Rng) -> Self {
        let mut site = Self {
            contents: Vec::new(),
            by_id: RefCell::default(),
            pages: Vec::new(),
            lists: plan.lists,
            list_rank: rank(plan.lists, plan.list_zipf),
            item_rank: rank(plan.items, plan.item_zipf),
            item_views: plan.item_views,
        };
        if let Some(video) = &plan.video {
            let video = site.add((video.mb * 1e6) as usize, rng);
            site.pages.push(Page {
                path: "/watch".into(),
                video: Some(video),
                ..Page::default()
            });
            return site;
        }
        let shell: Vec<_> = (0..plan.shell)
            .map(|_| site.image(&plan.thumb_kb, rng))
            .collect();
        let thumbs: Vec<_> = (0..plan.items)
            .map(|_| site.image(&plan.thumb_kb, rng))
            .collect();
        for list in 0..plan.lists {
            let shown = site.some_items(plan.thumbs.0, rng);
            let images: Vec<_> = shown.into_iter().map(|item| thumbs[item]).collect();
            let (above, below) = images.split_at(plan.thumbs.1.min(images.len()));
            site.pages.push(Page {
                path: format!("/list/{list}"),
                eager: [&shell[..], above].concat(),
                lazy: below.to_vec(),
                video: None,
            });
        }
        for item in 0..plan.items {
            let photos: Vec<_> = (0..plan.photos.0)
                .map(|_| site.image(&plan.photo_kb, rng))
                .collect();
            let related = site.some_items(plan.related, rng);
            let related: Vec<_> = related.into_iter().map(|item| thumbs[item]).collect();
            let (above, below) = photos.split_at(plan.photos.1.min(photos.len()));
            site.pages.push(Page {
                path: format!("/item/{item}"),
                eager: [&shell[..], above].concat(),
                lazy: [below, &related[..]].concat(),
                video: None,
            });
        }
        site
    }

    fn add(&mut self, len: usize, rng: &mut impl Rng) -> Content {
        let content = self.contents.len() as Content;
        self.contents.push(Resource::new(len, rng.random()));
        content
    }

    fn image(&mut self, kb: &Option<Dist>, rng: &mut impl Rng) -> Content {
        let kb = kb.as_ref().map_or(20.0, |kb| kb.draw(rng));
        self.add((kb * 1000.0) as usize, rng)
    }

    /// Different items, popular ones more often.
    fn some_items(&self, count: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut items: Vec<usize> = Vec::new();
        for _ in 0..count * 4 {
            let item = ranked(&self.item_rank, rng);
            if items.len() < count && !items.contains(&item) {
                items.push(item);
            }
        }
        items
    }

    /// A page that a visitor goes to.
    pub fn visit(&self, rng: &mut impl Rng) -> usize {
        let item = rng.random::<f64>() < self.item_views;
        match (self.pages.len(), item) {
            (1, _) => 0,
            (_, true) => self.lists + ranked(&self.item_rank, rng),
            (_, false) => ranked(&self.list_rank, rng),
        }
    }

    /// How long a content is, without making it.
    pub fn len(&self, content: Content) -> u64 {
        self.contents[content as usize].len()
    }

    /// What has this id.
    pub fn find(&self, id: &ContentId) -> Option<Content> {
        self.by_id.borrow().get(id).copied()
    }

    /// One content.
    pub fn content(&self, content: Content) -> &Resource {
        let resource = &self.contents[content as usize];
        if resource.made.get().is_none() {
            self.by_id.borrow_mut().insert(resource.id(), content);
        }
        resource
    }

    /// All bytes of it, each once.
    pub fn unique_bytes(&self) -> u64 {
        self.contents.iter().map(Resource::len).sum()
    }
}

fn rank(of: usize, exponent: f64) -> Option<Zipf<f64>> {
    Zipf::new(of as f64, exponent).ok()
}

fn ranked(rank: &Option<Zipf<f64>>, rng: &mut impl Rng) -> usize {
    rank.map_or(0, |rank| rank.sample(rng) as usize - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    fn shop(seed: u64) -> Site {
        let workload = Workload::load("shop").unwrap();
        Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn popular_pages_are_visited_as_zipf_says() {
        let site = shop(1);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut visits = vec![0_u32; site.pages.len()];
        for _ in 0..200_000 {
            visits[site.visit(&mut rng)] += 1;
        }
        let (first, tenth) = (visits[site.lists], visits[site.lists + 9]);
        let workload = Workload::load("shop").unwrap();
        let expected = 10_f64.powf(workload.site.item_zipf);
        assert!((f64::from(first) / f64::from(tenth) / expected - 1.0).abs() < 0.15);
    }

    #[test]
    fn same_seed_makes_the_same_site_and_another_does_not() {
        assert_eq!(shop(1).content(7).id(), shop(1).content(7).id());
        assert_ne!(shop(1).content(7).id(), shop(2).content(7).id());
    }
}
