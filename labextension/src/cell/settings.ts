/** The extension's settings as values; the schema has their titles, defaults and bounds. */

import type { ISettingRegistry } from '@jupyterlab/settingregistry';

import type { IDefaults } from './choice';

export interface IButtonSettings extends IDefaults {
  readonly confirmBeforeSpending: boolean;
  readonly badge: boolean;
  readonly refreshRate: number;
}

/** What holds while there are no settings, as in the schema. */
export const DEFAULTS: IButtonSettings = {
  backend: '',
  budget: 0,
  confirmBeforeSpending: true,
  badge: true,
  refreshRate: 4
};

export function settingsOf(settings: ISettingRegistry.ISettings | null): IButtonSettings {
  return settings === null
    ? DEFAULTS
    : { ...DEFAULTS, ...(settings.composite as Partial<IButtonSettings>) };
}
