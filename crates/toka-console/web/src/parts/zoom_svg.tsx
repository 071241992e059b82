// A picture that is moved by dragging, and made larger by the wheel, by buttons and by keys.

import { select } from "d3-selection";
import { zoom, type ZoomBehavior, zoomIdentity, zoomTransform } from "d3-zoom";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const STEP = 1.4;
const SCALE: [number, number] = [0.1, 8];
const MARGIN = 24;
/** Smaller letters are not read: then where the reader is comes first, and not all of it. */
const READABLE = 0.5;

interface Props {
  label: string;
  width: number;
  height: number;
  /** What is drawn; when it changes all of it is shown. */
  of: unknown;
  /** Where the reader is; comes into sight when it moves. */
  at?: { x: number; y: number } | null;
  /** There is text in it, which is to be read at first. */
  isText?: boolean;
  children: ComponentChildren;
  onKeyDown?: (event: KeyboardEvent) => void;
}

export function ZoomSvg({ label, width, height, of, at, isText, children, onKeyDown }: Props) {
  const svg = useRef<SVGSVGElement>(null);
  const behavior = useRef<ZoomBehavior<SVGSVGElement, unknown> | null>(null);
  const [transform, setTransform] = useState(zoomIdentity);
  const size = useRef({ width, height });
  size.current = { width, height };
  const fit = () => {
    const [element, zooming] = [svg.current, behavior.current];
    if (!element || !zooming) return;
    const { clientWidth, clientHeight } = element;
    const { width, height } = size.current;
    const room = Math.min((clientWidth - 2 * MARGIN) / width, (clientHeight - 2 * MARGIN) / height);
    const scale = Math.min(Math.max(room, SCALE[0]), 1.5);
    const [x, y] = [(clientWidth - width * scale) / 2, (clientHeight - height * scale) / 2];
    select(element).call(zooming.transform, zoomIdentity.translate(x, y).scale(scale));
  };
  const again = useRef(fit);
  useEffect(() => {
    const element = svg.current;
    if (!element) return;
    const zooming = zoom<SVGSVGElement, unknown>().scaleExtent(SCALE);
    zooming.on("zoom", (event: { transform: typeof zoomIdentity }) => setTransform(event.transform));
    behavior.current = zooming;
    select(element).call(zooming);
    const watcher = new ResizeObserver(() => again.current());
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      select(element).on(".zoom", null);
    };
  }, []);
  const begin = () => {
    fit();
    const [element, zooming] = [svg.current, behavior.current];
    if (!isText || !element || !zooming || !at || zoomTransform(element).k >= READABLE) return;
    select(element).call(zooming.transform, zoomIdentity.scale(2 * READABLE)).call(zooming.translateTo, at.x, at.y);
  };
  again.current = begin;
  useEffect(begin, [of, width, height]);
  useEffect(() => {
    const [element, zooming] = [svg.current, behavior.current];
    if (!element || !zooming || !at) return;
    const [x, y] = transform.apply([at.x, at.y]);
    const isSeen = x > MARGIN && y > MARGIN && x < element.clientWidth - MARGIN && y < element.clientHeight - MARGIN;
    if (!isSeen) select(element).call(zooming.translateTo, at.x, at.y);
  }, [at?.x, at?.y]);
  const scale = (by: number) => {
    if (svg.current && behavior.current) select(svg.current).call(behavior.current.scaleBy, by);
  };
  const pressed = (event: KeyboardEvent) => {
    const act = { "+": () => scale(STEP), "-": () => scale(1 / STEP), "0": fit }[event.key];
    if (act) {
      event.preventDefault();
      act();
    } else onKeyDown?.(event);
  };
  return (
    <div class="picture" onKeyDown={pressed}>
      <div class="zoom" role="group" aria-label="Zoom">
        <button type="button" aria-label="Larger" title="+" onClick={() => scale(STEP)}>+</button>
        <button type="button" aria-label="Smaller" title="-" onClick={() => scale(1 / STEP)}>−</button>
        <button type="button" title="0" onClick={fit}>Fit</button>
      </div>
      <svg ref={svg} role="group" aria-label={label}>
        <g transform={transform.toString()}>{children}</g>
      </svg>
    </div>
  );
}
