//! A slab whose keys go stale: a key of something removed finds nothing, also
//! when the place is taken again.

/// Names one value that was inserted into a [`Slots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId {
    index: u32,
    generation: u32,
}

/// Bits of a packed id: 32 of index, the rest of generation.
pub const PACKED_BITS: u32 = 32 + GENERATION_BITS;
const GENERATION_BITS: u32 = 29;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const NONE: u32 = u32::MAX;

impl SlotId {
    /// As a number below 2^[`PACKED_BITS`].
    pub fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The id that was packed; higher bits are ignored.
    pub fn unpack(packed: u64) -> Self {
        Self { index: packed as u32, generation: (packed >> 32) as u32 & GENERATION_MASK }
    }
}

/// Values in numbered places; the places are reused.
#[derive(Debug)]
pub struct Slots<T> {
    places: Vec<Place<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Taken(T),
    Free { next: u32 },
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T> Slots<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts the value in that `make` builds from its own id.
    pub fn insert_with(&mut self, make: impl FnOnce(SlotId) -> T) -> SlotId {
        let index = match self.free {
            NONE => {
                let index = self.places.len() as u32;
                self.places.push(Place { generation: 0, content: Content::Free { next: NONE } });
                index
            }
            index => index,
        };
        let place = &mut self.places[index as usize];
        if let Content::Free { next } = place.content {
            self.free = next;
        }
        let id = SlotId { index, generation: place.generation };
        place.content = Content::Taken(make(id));
        self.len += 1;
        id
    }

    /// The value, unless it was removed.
    pub fn get(&self, id: SlotId) -> Option<&T> {
        match self.places.get(id.index as usize) {
            Some(Place { generation, content: Content::Taken(value) }) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The value, unless it was removed.
    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        match self.places.get_mut(id.index as usize) {
            Some(Place { generation, content: Content::Taken(value) }) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; its id is stale from now on.
    pub fn remove(&mut self, id: SlotId) -> Option<T> {
        self.get(id)?;
        let place = &mut self.places[id.index as usize];
        place.generation = place.generation.wrapping_add(1) & GENERATION_MASK;
        let content = std::mem::replace(&mut place.content, Content::Free { next: self.free });
        self.free = id.index;
        self.len -= 1;
        match content {
            Content::Taken(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// Number of places, taken or free. It never becomes less.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The value at a place, with its id; `None` for a free place.
    pub fn at(&self, place: usize) -> Option<(SlotId, &T)> {
        match self.places.get(place)? {
            Place { generation, content: Content::Taken(value) } => {
                Some((SlotId { index: place as u32, generation: *generation }, value))
            }
            Place { content: Content::Free { .. }, .. } => None,
        }
    }

    /// Every value with its id, in order of place.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &T)> {
        (0..self.places()).filter_map(|place| self.at(place))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::default();
        let first = slots.insert_with(|_| 'a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert_with(|_| 'b');
        assert_eq!(first.index, second.index, "the place is used again");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)) {
            let mut slots = Slots::default();
            let mut model: Vec<(SlotId, usize)> = Vec::new();
            let mut gone = Vec::new();
            for (n, (insert, which)) in ops.into_iter().enumerate() {
                if insert || model.is_empty() {
                    model.push((slots.insert_with(|_| n), n));
                } else {
                    let (id, value) = model.swap_remove(which.index(model.len()));
                    prop_assert_eq!(slots.remove(SlotId::unpack(id.pack())), Some(value));
                    gone.push(id);
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.iter().count(), model.len());
            }
            for (id, value) in model {
                prop_assert_eq!(slots.get(id), Some(&value));
            }
            for id in gone {
                prop_assert_eq!(slots.get(id), None);
            }
        }
    }
}
