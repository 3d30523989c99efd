//! Inodes by number. They stand in pages, in the order in which they came, so that those that were listed together, and
//! are dropped together, lie together; a number's place is found by a hash table of four bytes a name.

use hashbrown::HashTable;

use crate::vfs::Ino;
use crate::vfs::names::node::Node;

/// Inodes of a page.
const PAGE: usize = 64;

#[derive(Default)]
pub(in crate::vfs) struct Table {
    /// The place of each: its page and where it stands there.
    places: HashTable<u32>,
    pages: Vec<Option<Page>>,
    /// Pages that are not in use.
    free: Vec<u32>,
    /// Where the next one goes, unless that page is full or not in use.
    next: u32,
}

struct Page {
    used: usize,
    slots: Box<[Option<Slot>]>,
}

struct Slot {
    ino: Ino,
    node: Node,
}

/// Numbers are spread already, but not over all of their bits.
fn hash(ino: Ino) -> u64 {
    ino.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn slot(pages: &[Option<Page>], place: u32) -> Option<&Slot> {
    let page = pages.get(place as usize / PAGE)?.as_ref()?;
    page.slots[place as usize % PAGE].as_ref()
}

fn is(pages: &[Option<Page>], place: u32, ino: Ino) -> bool {
    slot(pages, place).is_some_and(|slot| slot.ino == ino)
}

impl Table {
    /// How many there are.
    pub(in crate::vfs) fn len(&self) -> usize {
        self.places.len()
    }

    fn place(&self, ino: Ino) -> Option<u32> {
        let found = |place: &u32| is(&self.pages, *place, ino);
        self.places.find(hash(ino), found).copied()
    }

    pub(in crate::vfs) fn get(&self, ino: Ino) -> Option<&Node> {
        Some(&slot(&self.pages, self.place(ino)?)?.node)
    }

    pub(in crate::vfs) fn get_mut(&mut self, ino: Ino) -> Option<&mut Node> {
        let place = self.place(ino)? as usize;
        let page = self.pages.get_mut(place / PAGE)?.as_mut()?;
        Some(&mut page.slots[place % PAGE].as_mut()?.node)
    }

    pub(in crate::vfs) fn insert(&mut self, ino: Ino, node: Node) {
        if let Some(there) = self.get_mut(ino) {
            *there = node;
            return;
        }
        let place = self.room();
        let (page, at) = (place as usize / PAGE, place as usize % PAGE);
        let page = self.pages[page].get_or_insert_with(|| Page {
            used: 0,
            slots: std::iter::repeat_with(|| None).take(PAGE).collect(),
        });
        page.slots[at] = Some(Slot { ino, node });
        page.used += 1;
        let pages = &self.pages;
        let hasher = |place: &u32| slot(pages, *place).map_or(0, |slot| hash(slot.ino));
        self.places.insert_unique(hash(ino), place, hasher);
    }

    /// The next place: behind the one before, so that a page whose inodes have gone is not filled up with younger ones.
    fn room(&mut self) -> u32 {
        let begun = |place: u32| {
            let page = self.pages.get(place as usize / PAGE);
            page.is_some_and(Option::is_some)
        };
        if !(self.next as usize).is_multiple_of(PAGE) && begun(self.next) {
            let place = self.next;
            self.next += 1;
            return place;
        }
        let page = self.free.pop().unwrap_or_else(|| {
            self.pages.push(None);
            self.pages.len() as u32 - 1
        });
        let place = page * PAGE as u32;
        self.next = place + 1;
        place
    }

    pub(in crate::vfs) fn remove(&mut self, ino: Ino) {
        let pages = &self.pages;
        let found = |place: &u32| is(pages, *place, ino);
        let Ok(entry) = self.places.find_entry(hash(ino), found) else {
            return;
        };
        let (place, _) = entry.remove();
        let number = place as usize / PAGE;
        let Some(page) = &mut self.pages[number] else {
            return;
        };
        page.slots[place as usize % PAGE] = None;
        page.used -= 1;
        if page.used == 0 {
            self.pages[number] = None;
            self.free.push(number as u32);
        }
        let pages = &self.pages;
        if self.places.capacity() > 1024 && self.places.len() < self.places.capacity() / 4 {
            let hasher = |place: &u32| slot(pages, *place).map_or(0, |slot| hash(slot.ino));
            self.places.shrink_to(self.places.len() * 2, hasher);
        }
    }

    /// Every inode with its number, in no order.
    pub(in crate::vfs) fn iter(&self) -> impl Iterator<Item = (Ino, &Node)> {
        let pages = self.pages.iter().flatten();
        pages
            .flat_map(move |page| page.slots.iter())
            .flatten()
            .map(|slot| (slot.ino, &slot.node))
    }
}
