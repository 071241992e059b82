// Where intents are drawn: what means alike is close together.
//
// The vault shows nobody its centroids, so the place of an intent is the mean of the embeddings of its examples, which the
// reader may see, on the two axes along which these differ most.

import type { Intent } from "./gen/toka/vault/v1/intent_service_pb";

const UNIT = 16_384;
const ITERATIONS = 200;
const SEPARATIONS = 80;
const GAP = 3;
/** Of the picture. */
export const SIDE = 640;
const RADIUS: [number, number] = [7, 42];

export interface Spot {
  intent: Intent;
  x: number;
  y: number;
  radius: number;
}

/** One spot for each intent that has an example with an embedding. */
export function map(intents: readonly Intent[]): Spot[] {
  const seen = intents.flatMap((intent) => {
    const mean = meanOf(intent);
    return mean ? [{ intent, mean }] : [];
  });
  const most = Math.max(1, ...seen.map(({ intent }) => Number(intent.events)));
  const places = plane(seen.map(({ mean }) => mean));
  const reach = Math.max(1e-9, ...places.map(([x, y]) => Math.max(Math.abs(x), Math.abs(y))));
  const spots = seen.map(({ intent }, index) => {
    const [x, y] = places[index] ?? [0, 0];
    const share = Math.sqrt(Number(intent.events) / most);
    const scale = (value: number) => SIDE / 2 + (value / reach) * (SIDE / 2 - RADIUS[1]);
    return { intent, x: scale(x), y: scale(y), radius: RADIUS[0] + share * (RADIUS[1] - RADIUS[0]) };
  });
  return separate(spots);
}

function meanOf(intent: Intent): Float64Array | null {
  let mean: Float64Array | null = null;
  for (const { event } of intent.examples) {
    const state = event?.embedding?.state;
    if (state?.case !== "quantized") continue;
    const view = new DataView(state.value.buffer, state.value.byteOffset, state.value.byteLength);
    mean ??= new Float64Array(view.byteLength / 2);
    if (mean.length * 2 !== view.byteLength) continue;
    for (let at = 0; at < mean.length; at += 1) mean[at] = (mean[at] ?? 0) + view.getInt16(at * 2, true) / UNIT;
  }
  const length = mean ? Math.hypot(...mean) : 0;
  return mean && length > 0 ? mean.map((value) => value / length) : null;
}

/** The two principal components, by the products of all pairs, which are fewer than the products of all dimensions. */
function plane(vectors: Float64Array[]): [number, number][] {
  const rows = vectors.length;
  const dimension = vectors[0]?.length ?? 0;
  const mean = new Float64Array(dimension);
  for (const vector of vectors) vector.forEach((value, at) => (mean[at] = (mean[at] ?? 0) + value / rows));
  const centred = vectors.map((vector) => vector.map((value, at) => value - (mean[at] ?? 0)));
  const products = centred.map((one) => centred.map((other) => dot(one, other)));
  const axes = [0, 1].map(() => {
    const { vector, value } = largest(products);
    // What is along this axis is taken out, so that the next one is another.
    products.forEach((row, at) => row.forEach((_, other) => (row[other] = (row[other] ?? 0) - value * (vector[at] ?? 0) * (vector[other] ?? 0))));
    return vector.map((part) => part * Math.sqrt(Math.max(value, 0)));
  });
  return vectors.map((_, at) => [axes[0]?.[at] ?? 0, axes[1]?.[at] ?? 0]);
}

function dot(one: ArrayLike<number>, other: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < one.length; at += 1) sum += (one[at] ?? 0) * (other[at] ?? 0);
  return sum;
}

/** The largest eigenvalue and its vector, by repeated multiplication; the same each time. */
function largest(matrix: number[][]): { vector: number[]; value: number } {
  let vector = matrix.map((_, at) => Math.sin(at + 1));
  let value = 0;
  for (let turn = 0; turn < ITERATIONS; turn += 1) {
    const next = matrix.map((row) => dot(row, vector));
    value = Math.hypot(...next);
    if (value < 1e-12) return { vector: matrix.map(() => 0), value: 0 };
    vector = next.map((part) => part / value);
  }
  // Its sign means nothing: the same picture comes out of each.
  const turned = (vector.find((part) => Math.abs(part) > 1e-9) ?? 1) < 0 ? -1 : 1;
  return { vector: vector.map((part) => part * turned), value };
}

/** Moves apart what would hide each other. */
function separate(spots: Spot[]): Spot[] {
  for (let turn = 0; turn < SEPARATIONS; turn += 1) {
    let isMoved = false;
    spots.forEach((one, at) => {
      for (const other of spots.slice(at + 1)) {
        const [x, y] = [other.x - one.x || 0.01 * (at + 1), other.y - one.y || 0.01];
        const away = Math.hypot(x, y);
        const overlap = one.radius + other.radius + GAP - away;
        if (overlap <= 0) continue;
        isMoved = true;
        const [left, up] = [(x / away) * (overlap / 2), (y / away) * (overlap / 2)];
        one.x -= left;
        one.y -= up;
        other.x += left;
        other.y += up;
      }
    });
    if (!isMoved) break;
  }
  return spots;
}
