//! Intersection over union.

use super::Edges;

/// Area of the intersection of two boxes divided by that of their union, 0 to 1; 0 where they only
/// touch or have no area.
pub fn overlap(a: &Edges, b: &Edges) -> f64 {
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let area = |edges: &Edges| (edges[2] - edges[0]) * (edges[3] - edges[1]);
    let shared = width * height;
    shared / (area(a) + area(b) - shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_of_known_overlap() {
        let unit = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(overlap(&unit, &unit), 1.0);
        assert_eq!(overlap(&unit, &[1.0, 0.0, 3.0, 2.0]), 1.0 / 3.0);
        assert_eq!(overlap(&unit, &[0.0, 0.0, 1.0, 1.0]), 0.25);
        assert_eq!(overlap(&unit, &[2.0, 0.0, 4.0, 2.0]), 0.0);
        assert_eq!(overlap(&unit, &[5.0, 5.0, 6.0, 6.0]), 0.0);
        assert_eq!(overlap(&[1.0; 4], &[1.0; 4]), 0.0);
    }
}
