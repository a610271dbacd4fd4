import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Feed } from '../src/api/feed';
import type { IChange } from '../src/api/types';
import { JobsModel } from '../src/jobs/model';
import { job } from './make';
import { Server } from './socket';

function jobs(cursor: string, ...list: ReturnType<typeof job>[]): IChange {
  return { type: 'jobs', cursor, jobs: list, removed: [], reset: false };
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a feed', () => {
  function setup(isVisible = () => true) {
    const server = new Server();
    const feed = new Feed({ connect: server.connect, isVisible });
    const received: IChange[] = [];
    feed.received.connect((_, change) => void received.push(change));
    return { server, feed, received };
  }

  it('connects only while somebody needs it', () => {
    const { server, feed } = setup();
    expect(server.open).toBe(0);
    const one = feed.lease();
    const two = feed.lease();
    expect(server.sockets).toHaveLength(1);
    one.dispose();
    vi.advanceTimersByTime(60_000);
    expect(server.open).toBe(1);
    two.dispose();
    vi.advanceTimersByTime(60_000);
    expect(server.open).toBe(0);
  });

  it('keeps the connection between two cells', () => {
    const { server, feed } = setup();
    feed.lease().dispose();
    vi.advanceTimersByTime(1_000);
    feed.lease();
    vi.advanceTimersByTime(60_000);
    expect(server.sockets).toHaveLength(1);
    expect(server.open).toBe(1);
  });

  it('resumes where it was when the connection breaks', () => {
    const { server, feed, received } = setup();
    feed.lease();
    expect(server.socket.cursor).toBeNull();
    server.socket.open();
    server.socket.say(jobs('epoch.7', job('a')));
    server.socket.break();
    vi.advanceTimersByTime(2_000);
    expect(server.socket.cursor).toBe('epoch.7');
    server.socket.open();
    server.socket.say(jobs('epoch.8', job('b')));
    expect(received).toHaveLength(2);
  });

  it('waits longer after each failure, but never more than a minute', () => {
    const { server, feed } = setup();
    feed.lease();
    const pauses: number[] = [];
    for (let failure = 0; failure < 8; failure++) {
      server.socket.break();
      const before = server.sockets.length;
      const start = Date.now();
      while (server.sockets.length === before) {
        vi.advanceTimersByTime(100);
      }
      pauses.push((Date.now() - start) / 1000);
    }
    expect(pauses[0]).toBeLessThan(1.5);
    expect(pauses[3]).toBeGreaterThan(5);
    expect(Math.max(...pauses)).toBeLessThan(60);
  });

  it('rests while the tab of the browser is hidden, and resumes with it', () => {
    let visible = true;
    const { server, feed } = setup(() => visible);
    feed.lease();
    visible = false;
    document.dispatchEvent(new Event('visibilitychange'));
    vi.advanceTimersByTime(600_000);
    expect(server.open).toBe(0);
    visible = true;
    document.dispatchEvent(new Event('visibilitychange'));
    expect(server.open).toBe(1);
  });

  it('says at each connection what is known of the watched job', () => {
    const { server, feed } = setup();
    let row = 0;
    feed.watch(() => ({ job: 'a', batches_after: row, log_after: 0 }));
    feed.lease();
    server.socket.open();
    row = 12;
    server.socket.break();
    vi.advanceTimersByTime(2_000);
    server.socket.open();
    feed.watch(null);
    expect(server.sockets.map(socket => socket.sent)).toEqual([
      [{ type: 'watch', job: 'a', batches_after: 0, log_after: 0 }],
      [
        { type: 'watch', job: 'a', batches_after: 12, log_after: 0 },
        { type: 'watch', job: null }
      ]
    ]);
  });
});

describe('the jobs', () => {
  function setup() {
    const server = new Server();
    const feed = new Feed({ connect: server.connect, isVisible: () => true });
    const model = new JobsModel(null as never, feed);
    server.socket.open();
    return { server, model };
  }

  it('look once at the start, and leave an idle server alone', () => {
    const { server } = setup();
    server.socket.say(jobs('e.1', job('a')));
    vi.advanceTimersByTime(600_000);
    expect(server.sockets).toHaveLength(1);
    expect(server.open).toBe(0);
  });

  it('leave a server alone that does not know them', () => {
    const { server } = setup();
    server.socket.break();
    vi.advanceTimersByTime(600_000);
    expect(server.sockets).toHaveLength(1);
  });

  it('are followed as long as one runs, whoever started it', () => {
    const { server, model } = setup();
    server.socket.say(jobs('e.1', job('a', { state: 'running' })));
    vi.advanceTimersByTime(600_000);
    expect(server.open).toBe(1);
    expect(model.active.map(({ id }) => id)).toEqual(['a']);
    server.socket.say(jobs('e.2', job('a')));
    vi.advanceTimersByTime(600_000);
    expect(server.open).toBe(0);
    expect(model.active).toEqual([]);
  });

  it('say which ids are new, different or gone, once for each message', () => {
    const { server, model } = setup();
    const emitted: string[][] = [];
    model.changed.connect((_, ids) => void emitted.push([...ids].sort()));
    server.socket.say(jobs('e.1', job('a'), job('b')));
    server.socket.say({
      type: 'jobs',
      cursor: 'e.2',
      jobs: [job('b')],
      removed: ['a'],
      reset: false
    });
    server.socket.say(jobs('e.3'));
    expect(emitted).toEqual([
      ['a', 'b'],
      ['a', 'b']
    ]);
    expect(model.get('a')).toBeUndefined();
  });

  it('forget all that they knew when the journal is begun anew', () => {
    const { server, model } = setup();
    server.socket.say(jobs('e.9', job('a'), job('b', { state: 'running' })));
    const emitted: string[][] = [];
    model.changed.connect((_, ids) => void emitted.push([...ids].sort()));
    server.socket.say({
      type: 'jobs',
      cursor: 'f.1',
      jobs: [job('c', { cell_id: 'cell-2' })],
      removed: [],
      reset: true
    });
    expect(emitted).toEqual([['a', 'b', 'c']]);
    expect(model.active).toEqual([]);
    expect(model.newestOfCell('sweep.ipynb', 'cell-1')).toBeUndefined();
  });

  it('know the newest job of a cell, in whatever order they come', () => {
    const { server, model } = setup();
    server.socket.say(
      jobs('e.1', job('new', { created: 20 }), job('old', { created: 10 }))
    );
    expect(model.newestOfCell('sweep.ipynb', 'cell-1')?.id).toBe('new');
    expect(model.newestOfCell('sweep.ipynb', 'cell-2')).toBeUndefined();
  });
});
