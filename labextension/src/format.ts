/**
 * Numbers as people read them: counts, times, sizes, money.
 *
 * Durations, money, sizes and counts are worded as by `cloudbutton_backend.units`, in the cell and on the
 * command line; `tests/wording.json` has the cases that both are tested with.
 */

import type { TranslationBundle } from '@jupyterlab/translation';

/** "250 µs", "85 ms", "0.34 s", "12.4 s", "3 min 20 s", "2 h 05 min", "3 d 04 h". */
export function duration(seconds: number, trans: TranslationBundle): string {
  if (seconds > 0 && seconds < 0.00095) {
    return trans.__('%1 µs', (seconds * 1e6).toFixed(0));
  }
  if (seconds < 0.0995) {
    return trans.__('%1 ms', (seconds * 1000).toFixed(0));
  }
  if (seconds < 59.95) {
    return trans.__('%1 s', seconds.toFixed(seconds < 0.995 ? 2 : 1));
  }
  const whole = Math.round(seconds);
  if (whole < 3600) {
    return pair(whole, 60, trans.__('min'), trans.__('s'));
  }
  const minutes = Math.floor(whole / 60);
  if (minutes < 60 * 24) {
    return pair(minutes, 60, trans.__('h'), trans.__('min'));
  }
  return pair(Math.floor(minutes / 60), 24, trans.__('d'), trans.__('h'));
}

function pair(value: number, base: number, large: string, small: string): string {
  const rest = `${value % base}`.padStart(2, '0');
  return `${Math.floor(value / base)} ${large} ${rest} ${small}`;
}

/** "about 12 s", "about 3 min 20 s": decimals would flicker, and promise too much. */
export function timeLeft(seconds: number, trans: TranslationBundle): string {
  if (seconds < 1) {
    return trans.__('under 1 s');
  }
  const text =
    seconds < 60 ? trans.__('%1 s', seconds.toFixed(0)) : duration(seconds, trans);
  return trans.__('about %1', text);
}

/** A duration on an axis, with the digits that tell it from the next one `step` seconds on. */
export function tick(seconds: number, step: number, trans: TranslationBundle): string {
  if (seconds >= 60 && step >= 1) {
    return duration(seconds, trans);
  }
  const digits = `${step}`.split('.')[1]?.length ?? 0;
  return trans.__('%1 s', seconds.toFixed(digits));
}

/** "$0.00", "<$0.0001", "$0.0042", "$0.42", "$1,234.50". Never rounds a cost to nothing. */
export function money(dollars: number): string {
  if (dollars > 0 && dollars < 0.01) {
    return dollars < 0.0001 ? '<$0.0001' : `$${significant(dollars, 2)}`;
  }
  return `$${fixed(dollars, 2)}`;
}

/** "7%", "0.4%"; "100%" only where nothing is missing. */
export function percent(share: number): string {
  const value = 100 * share;
  const rounded = value > 99 && value < 100 ? 99 : value;
  return `${rounded > 0 && rounded < 0.95 ? significant(rounded, 1) : Math.round(rounded)}%`;
}

/** "1,234,567". */
export function count(value: number): string {
  return value.toLocaleString('en');
}

/** "812 B", "4.1 MB", "123 MB", as in SI: a thousand, not 1,024. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let rest = value;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  const isWhole = unit === 0 || (rest >= 99.5 && units[unit] !== 'TB');
  return `${fixed(rest, isWhole ? 0 : 1)} ${units[unit]}`;
}

/** "4.1 items/s", "12 items/min": never a rate that reads as zero. */
export function rate(perSecond: number, trans: TranslationBundle): string {
  if (perSecond >= 0.95) {
    return trans.__('%1/s', grouped(perSecond));
  }
  if (perSecond * 60 >= 0.95) {
    return trans.__('%1/min', significant(perSecond * 60, 2));
  }
  return trans.__('%1/h', significant(perSecond * 3600, 2));
}

/** "just now", "5 min ago", "yesterday 14:02" is left to `title`: a list needs the rough age. */
export function ago(seconds: number, trans: TranslationBundle): string {
  if (seconds < 45) {
    return trans.__('just now');
  }
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) {
    return trans.__('%1 min ago', minutes);
  }
  const hours = Math.round(seconds / 3600);
  if (hours < 24) {
    return trans.__('%1 h ago', hours);
  }
  return trans._n('%1 day ago', '%1 days ago', Math.round(hours / 24));
}

/** A moment as the reader's own clock and calendar show it. */
export function moment(time: number): string {
  return new Date(time * 1000).toLocaleString();
}

/** At most `digits` digits that matter, but never less than whole numbers. */
function significant(value: number, digits: number): string {
  if (value >= 10 ** (digits - 1)) {
    return `${Math.round(value)}`;
  }
  return value.toPrecision(digits).replace(/\.0+$|(\.\d*?)0+$/, '$1');
}

function fixed(value: number, digits: number): string {
  return value.toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits
  });
}

function grouped(value: number): string {
  return value >= 1000 ? count(Math.round(value)) : significant(value, 2);
}
