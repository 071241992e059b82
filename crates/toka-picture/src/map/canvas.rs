//! What the plotting library draws on.
//!
//! The library's own SVG backend writes elements that have no title to hover over and no class for a dark screen to
//! colour them by, and leaves characters in texts that XML does not have. So this is another one. The few things that
//! the map has drawn for it know it, and say more than a shape and a colour.

use std::convert::Infallible;

use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, DrawingBackend, DrawingErrorKind,
};

use crate::svg::Svg;

/// A document, and how large it is.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    pub(super) svg: Svg,
    /// Pixels, width and height.
    pub(super) size: (u32, u32),
}

impl DrawingBackend for Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    /// Shapes that nothing else is said of come as pixels; the map has none.
    fn draw_pixel(
        &mut self,
        (x, y): BackendCoord,
        _: BackendColor,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.svg.empty(
            "rect",
            &[("x", &x), ("y", &y), ("width", &1), ("height", &1)],
        );
        Ok(())
    }

    /// A line of the grid: the map has no others.
    fn draw_line<S: BackendStyle>(
        &mut self,
        (x1, y1): BackendCoord,
        (x2, y2): BackendCoord,
        _: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.svg.empty(
            "line",
            &[
                ("class", &"grid"),
                ("x1", &x1),
                ("y1", &y1),
                ("x2", &x2),
                ("y2", &y2),
            ],
        );
        Ok(())
    }
}
