/* Clarion in a page: subscribe the browser, keep it subscribed, unsubscribe, preferences.
 *
 *   <script src="https://push.example.com/v1/sdk/clarion.js"></script>
 *   const clarion = new Clarion({ api: 'https://push.example.com', app: 'web', user: 'u1',
 *                                 token: () => fetch('/my/token').then((r) => r.text()) })
 *   await clarion.start()                             // on every page: keeps the device fresh
 *   button.onclick = () => clarion.subscribe()        // asks for permission: needs a click
 *
 * token: a JWT for this user from the site's own server, or what gives one. After the first
 * subscription the device has a token of its own, which serves from then on. */
const Clarion = (() => {
  'use strict'
  const DATABASE = 'clarion'
  const TIMEOUT_MS = 15_000

  // The same database as in clarion-sw.js.
  const kept = (mode, work) => new Promise((resolve, reject) => {
    const asked = indexedDB.open(DATABASE, 1)
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore('state')
      asked.result.createObjectStore('reports', { autoIncrement: true })
    }
    asked.onerror = () => reject(asked.error)
    asked.onsuccess = () => {
      const transaction = asked.result.transaction('state', mode)
      const request = work(transaction.objectStore('state'))
      transaction.oncomplete = () => { asked.result.close(); resolve(request.result) }
      transaction.onabort = transaction.onerror = () => { asked.result.close(); reject(transaction.error) }
    }
  })
  const read = () => kept('readonly', (store) => store.get('client'))
  const write = (client) => kept('readwrite', (store) => store.put(client, 'client'))
  const erase = () => kept('readwrite', (store) => store.delete('client'))

  // Base64url as the bytes that subscribe() wants. Source: RFC 4648 §5.
  const bytesOf = (text) => {
    const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'))
    return Uint8Array.from(plain, (character) => character.charCodeAt(0))
  }
  const sameBytes = (buffer, bytes) => {
    const held = new Uint8Array(buffer || new ArrayBuffer(0))
    return held.length === bytes.length && held.every((byte, n) => byte === bytes[n])
  }

  /** The API's answer was a problem. status, code: for programs; errors: by field. */
  class ClarionError extends Error {
    constructor (status, problem) {
      super(problem.detail || `the API answered ${status}`)
      this.status = status
      this.code = problem.code || 'error'
      this.errors = problem.errors || []
    }
  }

  class Clarion {
    /**
     * api: its URL. app: the tenant's web app. user: who is signed in. token: see above.
     * worker: the site's own file that imports clarion-sw.js. vapidKey: of the app, asked of the API
     * when absent. locale: of texts, the browser's when absent.
     */
    constructor ({ api, app, user, token, vapidKey = '', worker = '/clarion-sw.js', scope, locale } = {}) {
      for (const [name, value] of Object.entries({ api, app, user })) {
        if (!value) throw new TypeError(`Clarion: give ${name}`)
      }
      Object.assign(this, { app, user, worker, scope, _token: token, _vapidKey: vapidKey })
      this.api = api.replace(/\/+$/, '')
      this.locale = locale || navigator.language
    }

    /** Whether this browser can get Web Push. */
    static get supported () {
      return 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window
    }

    /** 'unsupported', 'denied', 'default' (not asked, or not subscribed) or 'subscribed'. */
    async state () {
      if (!Clarion.supported) return 'unsupported'
      if (Notification.permission === 'denied') return 'denied'
      return (await this._subscription()) && (await this._mine()) ? 'subscribed' : 'default'
    }

    /** Ask for permission and subscribe. Call it from a click. Gives the device, null when refused. */
    async subscribe () {
      if (!Clarion.supported) throw new Error('this browser has no Web Push')
      if ((await Notification.requestPermission()) !== 'granted') return null
      return this._register()
    }

    /** On every page: tell that the device is still there, and send reports that wait. Asks nothing. */
    async start () {
      if (!Clarion.supported || Notification.permission !== 'granted' || !(await this._mine())) return null
      const device = await this._register()
      const registration = await navigator.serviceWorker.ready
      if (registration.active) registration.active.postMessage({ clarion: 'send' })
      return device
    }

    /** Forget this device, here and at the API; true when there was one. */
    async unsubscribe () {
      const [subscription, client] = [await this._subscription(), await read()]
      if (client) {
        await this._call('DELETE', `/users/${encodeURIComponent(client.user)}/devices/${encodeURIComponent(client.deviceId)}`)
        await erase()
      }
      return subscription ? subscription.unsubscribe() : Boolean(client)
    }

    /** What the user wants and does not want. */
    preferences () {
      return this._call('GET', this._of('preferences'))
    }

    /** Change a part of it, such as {opted_out_categories: ['news']}; the rest stays. */
    setPreferences (change) {
      return this._call('PATCH', this._of('preferences'), change, 'application/merge-patch+json')
    }

    /** Call `listener(payload)` for every push while the page is open; gives what ends it. */
    onPush (listener) {
      const hear = (event) => {
        if (event.data && event.data.clarion === 'push') listener(event.data.payload)
      }
      navigator.serviceWorker.addEventListener('message', hear)
      return () => navigator.serviceWorker.removeEventListener('message', hear)
    }

    _of (what) {
      return `/users/${encodeURIComponent(this.user)}/${what}`
    }

    async _mine () {
      const client = await read()
      return client && client.user === this.user && client.app === this.app && client.api === this.api ? client : null
    }

    async _subscription () {
      const registration = await navigator.serviceWorker.getRegistration(this.scope)
      return registration ? registration.pushManager.getSubscription() : null
    }

    async _register () {
      const vapidKey = this._vapidKey || (await this._call('GET', `/apps/${encodeURIComponent(this.app)}/vapid-public-key`)).public_key
      await navigator.serviceWorker.register(this.worker, this.scope ? { scope: this.scope } : undefined)
      const registration = await navigator.serviceWorker.ready
      const applicationServerKey = bytesOf(vapidKey)
      const held = await registration.pushManager.getSubscription()
      // One made with another key would never get a message again.
      if (held && held.options && !sameBytes(held.options.applicationServerKey, applicationServerKey)) {
        await held.unsubscribe()
      }
      const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey })
      const client = await this._mine()
      const body = { ...subscription.toJSON(), app: this.app, locale: this.locale }
      if (client) body.device_id = client.deviceId // the same device, also when its endpoint changed
      const device = await this._call('POST', this._of('webpush'), body)
      await write({
        api: this.api, app: this.app, user: this.user, vapidKey,
        deviceId: device.device_id, deviceToken: device.device_token,
      })
      return device
    }

    // The device's own token when there is one; when it does not hold, or before there is, the site's.
    async _call (method, path, body, type = 'application/json') {
      const client = await this._mine()
      let answer = client ? await this._fetch(method, path, body, type, client.deviceToken) : null
      if (!answer || answer.status === 401) {
        const token = typeof this._token === 'function' ? await this._token() : this._token
        if (token) answer = await this._fetch(method, path, body, type, token)
      }
      if (!answer) throw new Error('Clarion: give a token for this user')
      const text = await answer.text()
      let found = null
      try { found = text ? JSON.parse(text) : null } catch { /* a proxy's page */ }
      if (!answer.ok) throw new ClarionError(answer.status, found || {})
      return found
    }

    _fetch (method, path, body, type, token) {
      return fetch(`${this.api}/v1${path}`, {
        method,
        headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'Content-Type': type }) },
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: 'omit',
        signal: AbortSignal.timeout ? AbortSignal.timeout(TIMEOUT_MS) : undefined,
      })
    }
  }
  Clarion.Error = ClarionError
  return Clarion
})()
