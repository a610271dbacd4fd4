/**
 * Who has agreed that a notebook's pressed cells spend money, on which backend, and when.
 *
 *     notebook.metadata.cloudbutton = { "consent": { "lambda": { "date": "2026-11-20", "user": "ada" } } }
 *
 * A notebook may come from another user, whose consent is not this user's: so it has a name.
 */

import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

/** The backends that `user` has agreed to; a user without a name is asked again. */
export function agreed(metadata: unknown, user: string): string[] {
  if (user === '') {
    return [];
  }
  return Object.entries(consents(metadata))
    .filter(([, consent]) => asObject(consent).user === user)
    .map(([backend]) => backend)
    .sort();
}

/** The notebook's metadata with one more consent. */
export function withConsent(
  metadata: unknown,
  backend: string,
  user: string,
  date: Date
): ReadonlyPartialJSONObject {
  const consent = { date: date.toISOString().slice(0, 10), user };
  return {
    ...asObject(metadata),
    consent: { ...consents(metadata), [backend]: consent }
  };
}

function consents(metadata: unknown): ReadonlyPartialJSONObject {
  return asObject(asObject(metadata).consent);
}

function asObject(value: unknown): ReadonlyPartialJSONObject {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as ReadonlyPartialJSONObject) : {};
}
