/** The server's endpoints as typed functions. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type {
  Cursor,
  IBackend,
  IBatches,
  IErrors,
  IEstimate,
  IHealth,
  IJobDetails,
  IJobQuery,
  IJobs,
  ISpend,
  ITrial
} from './types';

/** Below the server's base URL. */
export const NAMESPACE = 'cloudbutton/api';

/** A request that the server refused, with its own words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** What is wrong with which setting, where settings were refused. */
    readonly problems: Readonly<Record<string, string>> = {}
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

type Query = Readonly<Record<string, string | number | undefined>>;

export class Client {
  constructor(readonly settings = ServerConnection.makeSettings()) {}

  jobs(query: IJobQuery = {}): Promise<IJobs> {
    return this._get('jobs', { ...query });
  }

  job(id: string): Promise<IJobDetails> {
    return this._get(`jobs/${id}`);
  }

  batches(id: string, after: number): Promise<IBatches> {
    return this._get(`jobs/${id}/batches`, { after });
  }

  errors(id: string): Promise<IErrors> {
    return this._get(`jobs/${id}/errors`);
  }

  /** An HTML file about a job. */
  async report(id: string): Promise<Blob> {
    return (await this._fetch(`jobs/${id}/report`, { method: 'GET' })).blob();
  }

  cancel(id: string): Promise<{ command: number }> {
    return this._send('POST', `jobs/${id}/cancel`);
  }

  retry(id: string): Promise<{ command: number }> {
    return this._send('POST', `jobs/${id}/retry`);
  }

  /** Whether the kernel that drives the job has taken a command. */
  command(command: number): Promise<{ taken: boolean; waiting_since: number | null }> {
    return this._get(`commands/${command}`);
  }

  async backends(): Promise<readonly IBackend[]> {
    return (await this._get<{ backends: IBackend[] }>('backends')).backends;
  }

  health(backend: string): Promise<IHealth> {
    return this._get(`backends/${encodeURIComponent(backend)}/health`);
  }

  test(backend: string): Promise<ITrial> {
    return this._send('POST', `backends/${encodeURIComponent(backend)}/test`);
  }

  /** Write settings; null removes one, so that what lies below it holds again. */
  async write(values: Readonly<Record<string, unknown>>): Promise<void> {
    await this._send('PUT', 'settings', values);
  }

  spend(days: number): Promise<ISpend> {
    return this._get('spend', { days });
  }

  estimate(backend: string, notebook: string, cellId: string): Promise<IEstimate> {
    return this._get('estimate', { backend, notebook, cell_id: cellId });
  }

  /** A web socket of changes since `cursor`; without one, of the newest jobs first. */
  changes(cursor: Cursor): WebSocket {
    const { wsUrl, token, appendToken, WebSocket } = this.settings;
    const query: Record<string, string> = {};
    if (cursor !== null) {
      query.cursor = `${cursor}`;
    }
    if (appendToken && token) {
      query.token = token;
    }
    const url = URLExt.join(wsUrl, NAMESPACE, 'changes');
    return new WebSocket(url + URLExt.objectToQueryString(query));
  }

  private _get<T>(path: string, query: Query = {}): Promise<T> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const text = URLExt.objectToQueryString(
      Object.fromEntries(given.map(([key, value]) => [key, `${value}`]))
    );
    return this._request<T>(path + text, { method: 'GET' });
  }

  private _send<T>(method: 'POST' | 'PUT', path: string, body: unknown = {}): Promise<T> {
    return this._request<T>(path, { method, body: JSON.stringify(body) });
  }

  private async _request<T>(path: string, init: RequestInit): Promise<T> {
    return (await this._fetch(path, init)).json() as Promise<T>;
  }

  /** The response to a request that was not refused. */
  private async _fetch(path: string, init: RequestInit): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, NAMESPACE, path);
    const response = await ServerConnection.makeRequest(url, init, this.settings);
    if (response.ok) {
      return response;
    }
    let answer: { message?: string; problems?: Record<string, string> } = {};
    try {
      answer = await response.json();
    } catch {
      // A proxy's own page, perhaps: the status has to do.
    }
    const message = answer.message || `${response.status} ${response.statusText}`;
    throw new ApiError(response.status, message, answer.problems);
  }
}
