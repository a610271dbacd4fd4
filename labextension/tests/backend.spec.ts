import { describe, expect, it } from 'vitest';

import type { Client } from '../src/api/client';
import type { IBackend, IHealth, ITrial } from '../src/api/types';
import { BackendModel } from '../src/panel/backend/model';

/** A server with one backend, which is well once it has a region. */
class Server {
  settings: Record<string, unknown> = { region: null };
  inUse = 'local';
  looks: (() => void)[] = [];
  isSlow = false;

  readonly client = {
    backends: async () => [this.backend()],
    health: (): Promise<IHealth> => {
      const ok = this.settings.region !== null;
      const detail = ok ? 'as it should be' : 'no region';
      const status = ok ? ('ok' as const) : ('problem' as const);
      const answer = { ok, lines: [{ name: 'region', ok, status, detail }] };
      return new Promise(done => {
        const say = () => done(answer);
        this.looks.push(say);
        if (!this.isSlow) {
          say();
        }
      });
    },
    test: async (): Promise<ITrial> => {
      const ok = this.settings.region !== null;
      this.settings.tested = true;
      return { ok, steps: [], message: ok ? 'It works.' : 'No region is chosen.' };
    },
    write: async (values: Record<string, unknown>) => {
      for (const [name, value] of Object.entries(values)) {
        if (name === 'backend') {
          this.inUse = String(value);
        } else {
          this.settings[name.replace('lambda.', '')] = value;
        }
      }
    }
  };

  private backend(): IBackend {
    return {
      name: 'lambda',
      title: 'AWS Lambda',
      description: '',
      in_use: this.inUse === 'lambda',
      costs: true,
      available: true,
      problem: null,
      schema: {},
      settings: { ...this.settings }
    };
  }
}

async function opened(): Promise<[Server, BackendModel]> {
  const server = new Server();
  const model = new BackendModel(server.client as unknown as Client);
  await model.refresh();
  return [server, model];
}

describe('the backend that is shown', () => {
  it('is looked at again when its settings were saved, and an old test is forgotten', async () => {
    const [, model] = await opened();
    await model.test();
    expect(model.health?.ok).toBe(false);
    expect(model.trial?.message).toBe('No region is chosen.');
    model.edit({ region: 'eu-central-1' });
    await model.save();
    expect(model.health?.ok).toBe(true);
    expect(model.trial).toBeNull();
  });

  it.each(['test', 'use'] as const)('is looked at again after %s', async act => {
    const [server, model] = await opened();
    const before = server.looks.length;
    await model[act]();
    expect(server.looks.length).toBe(before + 1);
    expect(model.health).not.toBeNull();
    expect(model.task).toBeNull();
  });

  it('shows the latest look, whichever answer comes first', async () => {
    const [server, model] = await opened();
    server.isSlow = true;
    const early = model.refresh();
    await expect.poll(() => server.looks.length).toBe(2);
    model.edit({ region: 'eu-central-1' });
    const saving = model.save();
    await expect.poll(() => server.looks.length).toBe(3);
    server.looks[2]();
    await saving;
    server.looks[1]();
    await early;
    expect(model.health?.ok).toBe(true);
  });
});
