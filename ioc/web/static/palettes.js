// Colour maps: 256 colours each, interpolated between a few.

const STOPS = {
  grey: ["000000", "ffffff"],
  "grey, inverted": ["ffffff", "000000"],
  viridis: ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"],
  inferno: ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"],
  heat: ["000000", "8b0000", "ff4500", "ffd700", "ffffff"],
  "blue to red": ["2b4fa8", "9db8e8", "f2f2f2", "eda58c", "b01f2e"],
};

export const NAMES = Object.keys(STOPS);

// Returns the colours of a map as 256 numbers, ready for the Uint32 view of an ImageData (little-endian: ABGR).
export function palette(name) {
  const stops = STOPS[name].map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));
  const table = new Uint32Array(256);
  for (let index = 0; index < 256; index++) {
    const place = (index / 255) * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    const [r, g, b] = stops[left].map((from, at) => Math.round(from + (stops[left + 1][at] - from) * (place - left)));
    table[index] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}
