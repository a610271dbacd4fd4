import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ['tests/**/*.spec.{ts,tsx}'],
    environment: 'jsdom',
    isolate: false, // one browser's worth of globals for all: they take longer than the tests
    // JupyterLab's packages are published as modules that import style sheets.
    server: { deps: { inline: [/@jupyterlab/, /@jupyter/, /@lumino/, /@microsoft/] } }
  }
});
