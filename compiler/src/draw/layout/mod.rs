//! Places for boxes and arrows: a layered drawing from left to right, after Sugiyama, Tagawa and Toda, "Methods for visual
//! understanding of hierarchical system structures" (1981).
//!
//! 1. Arrows that close cycles are turned round, so few as a greedy order finds ([`rank`]).
//! 2. Every box gets a layer; arrows that span several get a bend in each between, and their label a place of its own among
//!    the bends, so that labels lie on nothing.
//! 3. Each layer is ordered so that few arrows cross ([`order`]).
//! 4. Boxes move towards their neighbours as far as the order lets them ([`spread`]).
//!
//! All steps are deterministic.

mod order;
mod rank;
mod spread;

/// Between layers. Pixels.
const LAYER_GAP: f64 = 28.0;
/// What is left free around a drawing. Pixels.
const MARGIN: f64 = 16.0;
/// How high an arrow from a box to itself stands above it, without its label. Pixels.
const SELF_LOOP: f64 = 18.0;

/// Width and height. Pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Size {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A rectangle. Pixels, from the drawing's upper left corner.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rectangle {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width and height.
    pub size: Size,
}

/// An arrow to be placed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// From which box.
    pub from: usize,
    /// To which.
    pub to: usize,
    /// How large its label is; nothing for none.
    pub label: Size,
}

/// Where an arrow goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// From its beginning to its head.
    pub points: Vec<(f64, f64)>,
    /// Where its label stands.
    pub label: Rectangle,
    /// Whether it begins and ends at one box.
    pub is_self_loop: bool,
}

/// Where everything goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// How large the drawing is.
    pub size: Size,
    /// The boxes, as they were given.
    pub boxes: Vec<Rectangle>,
    /// The arrows, as they were given.
    pub routes: Vec<Route>,
}

/// Something in a layer: a box, or a bend of an arrow, which may carry its label.
#[derive(Debug, Clone, Copy)]
struct Item {
    layer: usize,
    size: Size,
    is_box: bool,
}

/// An arrow as the layers see it: from item to item, layer by layer.
struct Chain {
    items: Vec<usize>,
    is_reversed: bool,
    /// The place among `items` of the one that carries the label.
    label: Option<usize>,
}

impl Size {
    fn is_nothing(self) -> bool {
        self.width <= 0.0
    }

    fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

impl Rectangle {
    fn middle(&self) -> f64 {
        self.y + self.size.height / 2.0
    }

    fn turned(&self) -> Self {
        Self { x: self.y, y: self.x, size: self.size.turned() }
    }

    /// Whether two rectangles have any point inside in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.size.width
            && other.x < self.x + self.size.width
            && self.y < other.y + other.size.height
            && other.y < self.y + self.size.height
    }
}

/// How many boxes stand one behind the other at most, when arrows lead from each to the next.
pub fn longest_row(count: usize, arrows: &[(usize, usize)]) -> usize {
    let arrows: Vec<(usize, usize)> = arrows.iter().copied().filter(|(from, to)| from != to).collect();
    let sequence = rank::sequence(count, &arrows);
    let forward = |&(from, to): &(usize, usize)| if sequence[from] < sequence[to] { (from, to) } else { (to, from) };
    let directed: Vec<(usize, usize)> = arrows.iter().map(forward).collect();
    rank::layers(count, &directed, &sequence).into_iter().max().map_or(0, |last| last + 1)
}

/// Places boxes of these sizes, with arrows that lead down instead of to the right.
pub fn place_downwards(boxes: &[Size], links: &[Link]) -> Layout {
    let boxes: Vec<Size> = boxes.iter().map(|size| size.turned()).collect();
    let links: Vec<Link> = links.iter().map(|link| Link { label: link.label.turned(), ..*link }).collect();
    let Layout { size, boxes, routes } = place(&boxes, &links);
    let turned = |route: Route| Route {
        points: route.points.into_iter().map(|(x, y)| (y, x)).collect(),
        label: route.label.turned(),
        is_self_loop: route.is_self_loop,
    };
    Layout {
        size: size.turned(),
        boxes: boxes.iter().map(Rectangle::turned).collect(),
        routes: routes.into_iter().map(turned).collect(),
    }
}

/// Places boxes of these sizes and the arrows between them.
pub fn place(boxes: &[Size], links: &[Link]) -> Layout {
    let arrows: Vec<(usize, usize)> =
        links.iter().filter(|link| link.from != link.to).map(|link| (link.from, link.to)).collect();
    let sequence = rank::sequence(boxes.len(), &arrows);
    let forward = |link: &Link| sequence[link.from] < sequence[link.to];
    let directed: Vec<(usize, usize)> = links
        .iter()
        .filter(|link| link.from != link.to)
        .map(|link| if forward(link) { (link.from, link.to) } else { (link.to, link.from) })
        .collect();
    // Labels stand between layers of boxes, so boxes have the even layers.
    let layers: Vec<usize> =
        rank::layers(boxes.len(), &directed, &sequence).into_iter().map(|layer| 2 * layer).collect();

    let above = heads_room(boxes.len(), links);
    let mut items: Vec<Item> = boxes
        .iter()
        .zip(&layers)
        .zip(&above)
        .map(|((size, &layer), above)| Item {
            layer,
            size: Size { width: size.width.max(above.width), height: size.height + above.height },
            is_box: true,
        })
        .collect();
    let chains: Vec<Option<Chain>> = links
        .iter()
        .map(|link| (link.from != link.to).then(|| chain(link, !forward(link), &layers, &mut items)))
        .collect();
    let connections: Vec<(usize, usize)> =
        chains.iter().flatten().flat_map(|chain| chain.items.windows(2).map(|pair| (pair[0], pair[1]))).collect();
    let layers = order::layers(&items, &connections);
    let centres = spread::centres(&items, &layers, &connections);
    let lefts = columns(&items, &layers);
    drawing(boxes, links, &items, &chains, &layers, &centres, &lefts)
}

/// The room that arrows from boxes to themselves need above them.
fn heads_room(count: usize, links: &[Link]) -> Vec<Size> {
    let mut room = vec![Size::default(); count];
    for link in links.iter().filter(|link| link.from == link.to) {
        let above = &mut room[link.from];
        above.height += SELF_LOOP + link.label.height;
        above.width = above.width.max(link.label.width);
    }
    room
}

fn chain(link: &Link, is_reversed: bool, layers: &[usize], items: &mut Vec<Item>) -> Chain {
    let (from, to) = if is_reversed { (link.to, link.from) } else { (link.from, link.to) };
    let mut chain = vec![from];
    let (first, last) = (layers[from] + 1, layers[to]);
    // An odd layer near the middle: no boxes are there.
    let middle = usize::midpoint(first, last);
    let labelled = if middle % 2 == 1 { middle } else { middle - 1 };
    let mut label = None;
    for layer in first..last {
        let size = if layer == labelled { link.label } else { Size::default() };
        if layer == labelled && !link.label.is_nothing() {
            label = Some(chain.len());
        }
        chain.push(items.len());
        items.push(Item { layer, size, is_box: false });
    }
    chain.push(to);
    Chain { items: chain, is_reversed, label }
}

/// The left edge of each layer.
fn columns(items: &[Item], layers: &[Vec<usize>]) -> Vec<f64> {
    let mut left = MARGIN;
    layers
        .iter()
        .map(|layer| {
            let width = layer.iter().map(|&item| items[item].size.width).fold(0.0, f64::max);
            let at = left;
            left += width + LAYER_GAP;
            at
        })
        .collect()
}

fn drawing(
    boxes: &[Size],
    links: &[Link],
    items: &[Item],
    chains: &[Option<Chain>],
    layers: &[Vec<usize>],
    centres: &[f64],
    lefts: &[f64],
) -> Layout {
    let widths: Vec<f64> =
        layers.iter().map(|layer| layer.iter().map(|&item| items[item].size.width).fold(0.0, f64::max)).collect();
    let tops = items.iter().zip(centres).map(|(item, centre)| centre - item.size.height / 2.0);
    let shift = MARGIN - tops.reduce(f64::min).unwrap_or(0.0);
    let place_of = |item: usize| {
        let Item { layer, size, .. } = items[item];
        let x = lefts[layer] + (widths[layer] - size.width) / 2.0;
        Rectangle { x, y: centres[item] + shift - size.height / 2.0, size }
    };
    let rectangles: Vec<Rectangle> = boxes
        .iter()
        .enumerate()
        .map(|(at, &size)| {
            let room = place_of(at);
            let x = room.x + (room.size.width - size.width) / 2.0;
            Rectangle { x, y: room.y + room.size.height - size.height, size }
        })
        .collect();
    let doors = Doors::of(chains, &rectangles, &|item| place_of(item).middle());
    let mut stacked = vec![0.0; boxes.len()];
    let routes: Vec<Route> = links
        .iter()
        .zip(chains)
        .enumerate()
        .map(|(number, (link, chain))| match chain {
            None => self_loop(&rectangles[link.from], link, &mut stacked[link.from]),
            Some(chain) => {
                let (first, last) = (chain.items[0], chain.items[chain.items.len() - 1]);
                let mut points = vec![
                    (rectangles[first].x + rectangles[first].size.width, doors.out[number]),
                    (lefts[items[first].layer] + widths[items[first].layer], doors.out[number]),
                ];
                for &item in &chain.items[1..chain.items.len() - 1] {
                    let Item { layer, .. } = items[item];
                    let y = place_of(item).middle();
                    points.push((lefts[layer], y));
                    if widths[layer] > 0.0 {
                        points.push((lefts[layer] + widths[layer], y));
                    }
                }
                // Straight from the layer's edge, so as to pass by wider boxes of the layer.
                points.push((lefts[items[last].layer], doors.into[number]));
                points.push((rectangles[last].x, doors.into[number]));
                // Heads take their direction from the last two points.
                points.dedup_by(|a, b| (a.0 - b.0).abs() < 0.005 && (a.1 - b.1).abs() < 0.005);
                if chain.is_reversed {
                    points.reverse();
                }
                let label = chain.label.map_or_else(Rectangle::default, |at| place_of(chain.items[at]));
                Route { points, label, is_self_loop: false }
            }
        })
        .collect();
    let right = lefts.iter().zip(&widths).map(|(left, width)| left + width).fold(0.0, f64::max);
    let bottom = (0..items.len()).map(place_of).map(|it| it.y + it.size.height).fold(0.0, f64::max);
    Layout { size: Size { width: right + MARGIN, height: bottom + MARGIN }, boxes: rectangles, routes }
}

fn self_loop(of: &Rectangle, link: &Link, stacked: &mut f64) -> Route {
    let height = SELF_LOOP + link.label.height;
    let (base, peak) = (of.y - *stacked, of.y - *stacked - height);
    *stacked += height;
    let middle = of.x + of.size.width / 2.0;
    let reach = (of.size.width / 4.0).min(24.0);
    let x = middle - link.label.width / 2.0;
    Route {
        points: vec![
            (middle + reach, base),
            (middle + reach, peak + link.label.height),
            (middle - reach, peak + link.label.height),
            (middle - reach, base),
        ],
        label: Rectangle { x, y: peak, size: link.label },
        is_self_loop: true,
    }
}

/// Where arrows leave and enter boxes: one below the other, in the order of where they go.
struct Doors {
    out: Vec<f64>,
    into: Vec<f64>,
}

impl Doors {
    fn of(chains: &[Option<Chain>], boxes: &[Rectangle], middle: &dyn Fn(usize) -> f64) -> Self {
        let mut doors = Self { out: vec![0.0; chains.len()], into: vec![0.0; chains.len()] };
        for (at, rectangle) in boxes.iter().enumerate() {
            let ends = |first: bool| {
                let mut ends: Vec<(f64, usize)> = chains
                    .iter()
                    .enumerate()
                    .filter_map(|(number, chain)| {
                        let items = &chain.as_ref()?.items;
                        let (end, next) =
                            if first { (items[0], items[1]) } else { (items[items.len() - 1], items[items.len() - 2]) };
                        (end == at).then(|| (middle(next), number))
                    })
                    .collect();
                ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                ends
            };
            for first in [true, false] {
                let ends = ends(first);
                let step = rectangle.size.height / (ends.len() + 1) as f64;
                for (place, (_, number)) in ends.into_iter().enumerate() {
                    let side = if first { &mut doors.out } else { &mut doors.into };
                    side[number] = rectangle.y + step * (place + 1) as f64;
                }
            }
        }
        doors
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn graphs()(count in 1..14_usize)(
            sizes in prop::collection::vec((20.0..160.0_f64, 20.0..90.0_f64), count),
            links in prop::collection::vec((0..count, 0..count, prop::option::of(10.0..120.0_f64)), 0..30),
        ) -> (Vec<Size>, Vec<Link>) {
            let sizes = sizes.into_iter().map(|(width, height)| Size { width, height }).collect();
            let links = links.into_iter().map(|(from, to, label)| {
                Link { from, to, label: label.map_or(Size::default(), |width| Size { width, height: 14.0 }) }
            });
            (sizes, links.collect())
        }
    }

    proptest! {
        #[test]
        fn boxes_and_labels_lie_on_nothing_and_within_the_drawing((sizes, links) in graphs(), down in any::<bool>()) {
            let layout = if down { place_downwards(&sizes, &links) } else { place(&sizes, &links) };
            for (size, rectangle) in sizes.iter().zip(&layout.boxes) {
                prop_assert_eq!(*size, rectangle.size);
            }
            for (link, route) in links.iter().zip(&layout.routes) {
                prop_assert_eq!(link.label, route.label.size);
            }
            let labels = layout.routes.iter().map(|route| route.label).filter(|label| label.size.width > 0.0);
            let all: Vec<Rectangle> = layout.boxes.iter().copied().chain(labels).collect();
            for (at, one) in all.iter().enumerate() {
                for other in &all[at + 1..] {
                    prop_assert!(!one.overlaps(other), "{one:?} {other:?}");
                }
                prop_assert!(one.x >= 0.0 && one.y >= 0.0);
                prop_assert!(one.x + one.size.width <= layout.size.width && one.y + one.size.height <= layout.size.height);
            }
        }

        #[test]
        fn no_arrow_passes_behind_a_box((sizes, links) in graphs(), down in any::<bool>()) {
            let layout = if down { place_downwards(&sizes, &links) } else { place(&sizes, &links) };
            for route in layout.routes.iter().filter(|route| !route.is_self_loop) {
                prop_assert!(route.points.windows(2).all(|pair| pair[0] != pair[1]), "{route:?} has a head without direction");
                for pair in route.points.windows(2) {
                    let (x, y) = (pair[0].0.min(pair[1].0), pair[0].1.min(pair[1].1));
                    // A curve stays within the rectangle of its ends.
                    let size = Size { width: (pair[0].0 - pair[1].0).abs(), height: (pair[0].1 - pair[1].1).abs() };
                    let within = Rectangle { x, y, size };
                    for rectangle in &layout.boxes {
                        let smaller = Rectangle {
                            x: rectangle.x + 0.01,
                            y: rectangle.y + 0.01,
                            size: Size { width: rectangle.size.width - 0.02, height: rectangle.size.height - 0.02 },
                        };
                        prop_assert!(!within.overlaps(&smaller), "{within:?} {rectangle:?}");
                    }
                }
            }
        }

        #[test]
        fn every_arrow_goes_from_its_box_to_its_box((sizes, links) in graphs()) {
            let layout = place(&sizes, &links);
            prop_assert_eq!(layout.routes.len(), links.len());
            for (link, route) in links.iter().zip(&layout.routes) {
                for (end, at) in [(route.points[0], link.from), (route.points[route.points.len() - 1], link.to)] {
                    let Rectangle { x, y, size } = layout.boxes[at];
                    let touches = (end.0 - x).abs() < 0.01 || (end.0 - x - size.width).abs() < 0.01 || route.is_self_loop;
                    prop_assert!(touches && end.1 <= y + size.height, "{end:?} {:?}", layout.boxes[at]);
                }
            }
        }

        #[test]
        fn without_cycles_all_arrows_go_down_when_they_should((sizes, links) in graphs()) {
            let links: Vec<Link> = links.into_iter().filter(|link| link.from < link.to).collect();
            let layout = place_downwards(&sizes, &links);
            for route in &layout.routes {
                prop_assert!(route.points.is_sorted_by(|a, b| a.1 <= b.1), "{route:?}");
            }
        }

        #[test]
        fn without_cycles_all_arrows_go_to_the_right((sizes, links) in graphs()) {
            let links: Vec<Link> = links.into_iter().filter(|link| link.from < link.to).collect();
            let layout = place(&sizes, &links);
            for route in &layout.routes {
                prop_assert!(route.points.is_sorted_by(|a, b| a.0 <= b.0), "{route:?}");
            }
        }

        #[test]
        fn the_same_picture_is_placed_the_same((sizes, links) in graphs()) {
            prop_assert_eq!(place(&sizes, &links), place(&sizes, &links));
        }
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let sizes = [Size { width: 50.0, height: 30.0 }; 4];
        let links: Vec<Link> = (0..3).map(|at| Link { from: at, to: at + 1, label: Size::default() }).collect();
        let layout = place(&sizes, &links);
        let middles: Vec<f64> = layout.boxes.iter().map(Rectangle::middle).collect();
        assert!(middles.iter().all(|middle| (middle - middles[0]).abs() < 0.01), "{middles:?}");
        assert!(layout.boxes.is_sorted_by(|a, b| a.x < b.x));
    }
}
